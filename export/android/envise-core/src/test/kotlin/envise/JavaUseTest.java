package envise;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.File;
import java.io.FileNotFoundException;
import java.util.Collections;
import org.junit.jupiter.api.Test;

/** The library as Java sees it: no companion, no default argument, no checked exception is in the way. */
class JavaUseTest {
    @Test
    void optionsAreBuilt() {
        ClassifierOptions options =
                ClassifierOptions.builder()
                        .setRunningMode(RunningMode.LIVE_STREAM)
                        .setMaxResults(3)
                        .setScoreThreshold(0.1f)
                        .setCategoryDenylist(Collections.singleton("ant"))
                        .setObservation(new ObservationOptions(0.1))
                        .setResultListener(classification -> classification.getAnswer().getName())
                        .setErrorListener(failure -> failure.getMessage())
                        .build();
        assertEquals(3, options.getMaxResults());
        assertEquals(1000, options.getObservation().getWindow());
    }

    @Test
    void bundlesAreLoadedAndFailuresCaught() {
        BundleFiles none = name -> { throw new FileNotFoundException("it is missing"); };
        try {
            Bundle.load(none);
        } catch (UnreadableFile failure) {
            assertTrue(failure.getMessage().contains("manifest.json"));
        }
        assertThrows(EnviseException.class, () -> Bundle.load(new File("nowhere")));
    }

    @Test
    void picturesHaveDefaults() {
        assertEquals(2, new RgbaPicture(new byte[16], 2, 2).getWidth());
        assertEquals(4, new Nv21Picture(new byte[12], 4, 2, Orientation.ofDegrees(90)).getHeight());
    }

    /** Is compiled, which is the test. */
    static Answer answer(File folder, NetworkLoader loader, Picture picture) {
        Bundle bundle = Bundle.load(folder);
        try (Cascade cascade = new Cascade(bundle, loader);
                ImageClassifier classifier = ImageClassifier.create(bundle, loader)) {
            cascade.observe();
            classifier.classify(picture).getCategories().get(0).getScore();
            return cascade.classify(picture);
        }
    }
}
