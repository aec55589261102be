// Package attacks is the list of attacks that this module's tests stand for, and the proof that each has its test.
//
// catalogue.tsv names the attacks: id, group, title, and where the row lands: "now" for what is defended,
// "later: …" for what needs a part that does not exist yet, "none: …" for what no test can show. A test that covers a
// row carries its id, in a string literal or a comment of the test function; COVERAGE.md is made from both by
//
//	go generate ./internal/attacks
//
// and the package's own test fails when a row that lands "now" has no test, when a test names an id that is not
// in the catalogue, and when COVERAGE.md is not what would be made now.
package attacks

//go:generate go test -count=1 -run ^TestCoverage$ . -update

import (
	_ "embed"
	"fmt"
	"regexp"
	"strings"
)

//go:embed catalogue.tsv
var catalogue string

// attack is a row of the catalogue.
type attack struct {
	id, group, title string
	lands            string
}

const landsNow = "now"

var (
	idForm    = regexp.MustCompile(`^ATK-[A-Z][0-9]{2}$`)
	landsForm = regexp.MustCompile(`^(now|(later|none): .+)$`)
)

// parseCatalogue reads the table: a head line, then one attack a line, rows of one group together and in order.
func parseCatalogue(tsv string) ([]attack, error) {
	lines := strings.Split(strings.TrimSuffix(tsv, "\n"), "\n")
	if lines[0] != "id\tgroup\ttitle\tlands" {
		return nil, fmt.Errorf("the head line is %q", lines[0])
	}
	var attacks []attack
	seen := map[string]bool{}
	for i, line := range lines[1:] {
		fields := strings.Split(line, "\t")
		if len(fields) != 4 || fields[1] == "" || fields[2] == "" {
			return nil, fmt.Errorf("line %d does not have four fields", i+2)
		}
		a := attack{id: fields[0], group: fields[1], title: fields[2], lands: fields[3]}
		switch {
		case !idForm.MatchString(a.id):
			return nil, fmt.Errorf("line %d: %q is not an id", i+2, a.id)
		case seen[a.id]:
			return nil, fmt.Errorf("line %d: %s stands here a second time", i+2, a.id)
		case !landsForm.MatchString(a.lands):
			return nil, fmt.Errorf("line %d: %s lands in %q, which is neither now nor later: … nor none: …", i+2, a.id, a.lands)
		}
		seen[a.id] = true
		attacks = append(attacks, a)
	}
	return attacks, nil
}

// markdown is the text of COVERAGE.md.
func markdown(attacks []attack, tests map[string][]string) string {
	var b strings.Builder
	b.WriteString("# Which test stands for which attack\n\n")
	b.WriteString("Made by `go generate ./internal/attacks`; do not edit.\n")
	group := ""
	for _, a := range attacks {
		if a.group != group {
			group = a.group
			fmt.Fprintf(&b, "\n## %s\n\n| id | attack | tests |\n|---|---|---|\n", strings.ToUpper(group[:1])+group[1:])
		}
		cell := strings.Join(tests[a.id], "<br>")
		if a.lands != landsNow {
			cell = strings.TrimPrefix(cell+"<br>"+a.lands, "<br>")
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", a.id, a.title, cell)
	}
	return b.String()
}
