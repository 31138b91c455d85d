"""Teachers and students, loading them, and looking into them: split, Grad-CAM, multiply-accumulates."""
