package attacks

import (
	"flag"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

var update = flag.Bool("update", false, "write COVERAGE.md instead of comparing it")

// TestCoverage holds the catalogue against the tests of the whole module.
func TestCoverage(t *testing.T) {
	attacks, err := parseCatalogue(catalogue)
	if err != nil {
		t.Fatal(err)
	}
	tests, err := scan(os.DirFS("../.."))
	if err != nil {
		t.Error(err)
	}
	for _, complaint := range check(attacks, tests) {
		t.Error(complaint)
	}
	want := markdown(attacks, tests)
	if *update {
		if err := os.WriteFile("COVERAGE.md", []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got, err := os.ReadFile("COVERAGE.md"); err != nil || string(got) != want {
		t.Errorf("COVERAGE.md is not what the tests say (%v): run go generate ./internal/attacks", err)
	}
}

// check holds the two lists against each other.
func check(attacks []attack, tests map[string][]string) (complaints []string) {
	known := map[string]bool{}
	for _, a := range attacks {
		known[a.id] = true
		if a.lands == landsNow && len(tests[a.id]) == 0 {
			complaints = append(complaints, a.id+" has no test: "+a.title)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(tests)) {
		if !known[id] {
			complaints = append(complaints, id+" is not in the catalogue, but in "+strings.Join(tests[id], " and "))
		}
	}
	return complaints
}

func TestCheck(t *testing.T) {
	attacks := []attack{
		{id: "ATK-A01", lands: "now", title: "covered"},
		{id: "ATK-A02", lands: "now", title: "forgotten"},
		{id: "ATK-A03", lands: "later: something"},
		{id: "ATK-A04", lands: "none: because"},
	}
	tests := map[string][]string{"ATK-A01": {"p.TestA"}, "ATK-A03": {"p.TestA"}, "ATK-A05": {"p.TestA", "p.TestB"}}
	want := []string{
		"ATK-A02 has no test: forgotten",
		"ATK-A05 is not in the catalogue, but in p.TestA and p.TestB",
	}
	if got := check(attacks, tests); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestScan(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	root := fstest.MapFS{
		"go.mod": file("module m"),
		"p/a_test.go": file(`package p

// TestDoc stands for ATK-A01.
func TestDoc() {}

func TestInside() {
	// ATK-A02 in a comment
	run("ATK-A03 in a name, and ATK-A04", ` + "`ATK-A05 raw`" + `)
	_ = func() string { return "ATK-A01" }
}

func FuzzIt() { _ = "ATK-A06"; _ = "ATK-A06 again" }
`),
		"p/a.go":               file(`package p; const s = "ATK-B01: not a test file"`),
		"p/testdata/x_test.go": file(`package x; func TestX() { _ = "ATK-B02" }`),
		".hidden/x_test.go":    file(`package x; func TestX() { _ = "ATK-B03" }`),
		"nested/go.mod":        file("module n"),
		"nested/x_test.go":     file(`package x; func TestX() { _ = "ATK-B04" }`),
		"nested/q/x_test.go":   file(`package x; func TestX() { _ = "ATK-B05" }`),
		"a_test.go":            file(`package m; func TestTop() { _ = "ATK-A01" }`),
	}
	got, err := scan(root)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{
		"ATK-A01": {"..TestTop", "p.TestDoc", "p.TestInside"},
		"ATK-A02": {"p.TestInside"},
		"ATK-A03": {"p.TestInside"},
		"ATK-A04": {"p.TestInside"},
		"ATK-A05": {"p.TestInside"},
		"ATK-A06": {"p.FuzzIt"},
	}
	if !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("got %v\nwant %v", got, want)
	}
}

func TestScanRefusesIDsThatBelongToNoTest(t *testing.T) {
	for name, text := range map[string]string{
		"table of the package": `package p; var cases = []string{"ATK-A01"}`,
		"helper":               `package p; func helper() { _ = "ATK-A01" }`,
		"method":               `package p; type s struct{}; func (s) TestX() { _ = "ATK-A01" }`,
		"comment between":      "package p\n\n// ATK-A01\n\nfunc TestX() {}\n",
		"broken file":          `package p; func {`,
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := scan(fstest.MapFS{"p/a_test.go": {Data: []byte(text)}}); err == nil {
				t.Error("no error")
			}
		})
	}
}

func TestParseCatalogue(t *testing.T) {
	const head = "id\tgroup\ttitle\tlands\n"
	good := head + "ATK-A01\tg\tt\tnow\nATK-A02\tg\tt\tlater: x\nATK-A03\tg\tt\tnone: y\n"
	if got, err := parseCatalogue(good); err != nil || len(got) != 3 {
		t.Errorf("%v, %v", got, err)
	}
	for name, text := range map[string]string{
		"no head":         "ATK-A01\tg\tt\tnow\n",
		"no id":           head + "L01\tg\tt\tnow\n",
		"three fields":    head + "ATK-A01\tg\tnow\n",
		"no title":        head + "ATK-A01\tg\t\tnow\n",
		"twice":           head + "ATK-A01\tg\tt\tnow\nATK-A01\tg\tt\tnow\n",
		"lands nowhere":   head + "ATK-A01\tg\tt\tlater\n",
		"lands elsewhere": head + "ATK-A01\tg\tt\tnow \n",
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := parseCatalogue(text); err == nil {
				t.Error("no error")
			}
		})
	}
}

func TestMarkdown(t *testing.T) {
	got := markdown([]attack{
		{id: "ATK-A01", group: "one", title: "first", lands: "now"},
		{id: "ATK-B01", group: "two", title: "second", lands: "later: x"},
		{id: "ATK-B02", group: "two", title: "third", lands: "later: y"},
	}, map[string][]string{"ATK-A01": {"p.TestA", "p.TestB"}, "ATK-B02": {"p.TestC"}})
	for _, want := range []string{
		"\n## One\n\n| id | attack | tests |\n|---|---|---|\n| ATK-A01 | first | p.TestA<br>p.TestB |\n",
		"\n## Two\n\n| id | attack | tests |\n|---|---|---|\n| ATK-B01 | second | later: x |\n| ATK-B02 | third | p.TestC<br>later: y |\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}
