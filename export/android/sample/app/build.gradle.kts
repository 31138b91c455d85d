plugins {
    id("com.android.application")
    id("org.jetbrains.kotlin.android")
}

android {
    namespace = "envise.sample"
    compileSdk = 35
    defaultConfig {
        applicationId = "envise.sample"
        minSdk = 23
        targetSdk = 35
        versionCode = 1
        versionName = "0.1.0"
    }
}

kotlin {
    jvmToolchain(17)
}

dependencies {
    implementation("androidx.camera:camera-camera2:1.4.2")
    implementation("androidx.camera:camera-lifecycle:1.4.2")
    implementation("androidx.camera:camera-view:1.4.2")
}

// --- What python -m envise_tf.export RUN --android app writes into envise.gradle.kts ---------------------------------

android {
    defaultConfig { ndk { abiFilters += "arm64-v8a" } }    // "x86_64" too, for an emulator
    androidResources { noCompress += "tflite" }            // or the networks cannot be mapped into memory
}

dependencies {
    implementation(files("libs/envise-android.aar"))
    implementation("com.google.code.gson:gson:2.13.2")
    implementation("org.jetbrains.kotlin:kotlin-stdlib:2.2.21")
    // One of the two, never both: they have the same classes.
    implementation("org.tensorflow:tensorflow-lite:2.16.1")
    // implementation(files("libs/lce-lite.aar"))          // Larq Compute Engine's, which runs student.tflite
}
