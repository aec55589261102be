// Package interop holds no code of its own: its tests log in against authorization servers that other teams wrote, and
// drive the example web application with a real browser.
//
// The servers are in servers/, and the script install builds them; a browser test needs Chromium on the PATH. What is
// not installed is skipped with a word about it, unless SALLYPORT_REQUIRE_ALL=1 is set, as .ci/run does: then it is a
// failure. Screenshots of the browser tests go to artifacts/, which git ignores.
package interop
