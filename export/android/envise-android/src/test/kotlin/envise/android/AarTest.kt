package envise.android

import envise.Bundle
import java.io.DataInputStream
import java.io.File
import java.util.zip.ZipEntry
import java.util.zip.ZipFile
import java.util.zip.ZipInputStream
import java.util.zip.ZipOutputStream
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertTrue

/** What the build has packed, as an app gets it. */
class AarTest {
    private val aar = File(System.getProperty("aar"))
    private val content = ZipFile(aar).use { zip ->
        zip.entries().asSequence().associate { it.name to zip.getInputStream(it).readBytes() }
    }
    private val classes = ZipInputStream(content.getValue("classes.jar").inputStream()).use { zip ->
        generateSequence { zip.nextEntry }.filter { !it.isDirectory }.associate { it.name to zip.readBytes() }
    }

    @Test
    fun `it holds what Gradle looks for and nothing else`() {
        assertEquals(setOf("AndroidManifest.xml", "R.txt", "classes.jar", "proguard.txt", "LICENSE"), content.keys)
        val manifest = content.getValue("AndroidManifest.xml").decodeToString()
        assertTrue("package=\"envise.android\"" in manifest && "minSdkVersion=\"21\"" in manifest, manifest)
        assertEquals(0, content.getValue("R.txt").size)
    }

    @Test
    fun `its classes are ours alone, whole, and for JVM 8`() {
        val packages = classes.keys.filter { it.endsWith(".class") }.map { it.substringBeforeLast('/') }.toSet()
        assertEquals(setOf("envise", "envise/android"), packages)
        for (name in listOf("Cascade", "ImageClassifier", "android/AssetFiles", "android/InterpreterLoader")) {
            assertTrue("envise/$name.class" in classes, name)
        }
        assertTrue("envise/manifest.schema.json" in classes)
        for ((name, bytes) in classes.filterKeys { it.endsWith(".class") }) {
            val version = DataInputStream(bytes.inputStream()).apply { skipBytes(6) }.readUnsignedShort()
            assertEquals(52, version, name)
        }
    }

    @Test
    fun `an app that R8 has shrunk by its rules reads a bundle`() {
        val folder = File("target/shrunk").apply { mkdirs() }
        val jar = File(folder, "classes.jar").apply { writeBytes(content.getValue("classes.jar")) }
        val app = ShrunkApp::class.java
        val rules = File(folder, "proguard.txt").apply {
            writeBytes(content.getValue("proguard.txt"))
            appendText("-keep class ${app.name} { public static void main(...); }\n-dontwarn **\n")
        }
        val main = File(folder, "app.jar").apply {
            ZipOutputStream(outputStream()).use { zip ->
                zip.putNextEntry(ZipEntry("${app.name.replace('.', '/')}.class"))
                zip.write(app.getResourceAsStream("ShrunkApp.class")!!.readBytes())
            }
        }
        val shrunk = File(folder, "shrunk.jar")
        val given = listOf(jar, main, onPath("gson-"), onPath("kotlin-stdlib-"))
        val words = listOf("--classfile", "--lib", System.getProperty("java.home"), "--pg-conf", rules.path, "--output", shrunk.path)
        java("-cp", onPath("r8-").path, "com.android.tools.r8.R8", *words.toTypedArray(), *given.map { it.path }.toTypedArray())
        assertTrue(shrunk.length() < given.sumOf { it.length() } / 2, "nothing was shrunk")
        assertEquals("digits 32\nenvise.UnreadableFile", java("-cp", shrunk.path, app.name, "src/test/assets/digits"))
    }

    /** Returns what a Java program prints that ends as it should. */
    private fun java(vararg words: String): String {
        val java = File(System.getProperty("java.home"), "bin/java").path
        val process = ProcessBuilder(java, *words).redirectErrorStream(true).start()
        val printed = process.inputStream.readBytes().decodeToString().trim()
        assertEquals(0, process.waitFor(), printed)
        return printed
    }

    private fun onPath(beginning: String): File {
        val path = System.getProperty("surefire.test.class.path", System.getProperty("java.class.path"))
        return path.split(File.pathSeparator).map { File(it) }.single { it.name.startsWith(beginning) }
    }
}

/** An app of one sentence, which is shrunk. */
object ShrunkApp {
    @JvmStatic
    fun main(folders: Array<String>) {
        val bundle = Bundle.load(File(folders.single()))
        println("${bundle.manifest.name} ${bundle.golden().images.size}")
        try {
            Bundle.load(File("nowhere"))
        } catch (failure: Exception) {
            println(failure.javaClass.name)
        }
    }
}
