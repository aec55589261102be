//go:build !race

package session

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// mutant is the engine without one of its precautions, the scenario that shows it, and the invariant that breaks.
type mutant struct {
	name             string
	edits            []edit
	scenario, breaks string
}

// edit replaces a text that is once in a file.
type edit struct{ file, old, new string }

var mutants = []mutant{
	{"no re-read under the lease", []edit{
		{"transaction.go", `m.shared.entries.swap(ctx, &t.key, read.version, &e,`, `m.shared.entries.swap(ctx, &t.key, func() int64 { v, _, _ := m.shared.entries.get(ctx, &t.key, new(entry)); return v }(), &e,`},
	}, "calm/cookie/strict", "R8"},
	{"no lease is respected", []edit{
		{"transaction.go", `case t.heldByOther(e) && !stood:`, `case t.heldByOther(e) && !stood && false:`},
	}, "calm/store/strict", "R8"},
	{"no fencing", []edit{
		{"outcome.go", `case e.rec.tokenGeneration > generation: // fenced:`, `case e.rec.tokenGeneration > generation+9: // fenced:`},
	}, "apart/cookie/grace", "fencing"},
	{"a loser compares no generation", []edit{
		{"outcome.go", `case e.rec.tokenGeneration > generation: // a loser`, `case e.rec.tokenGeneration > generation+9: // a loser`},
		{"outcome.go", `case e.ahead() > generation: // the same`, `case e.ahead() > generation+9: // the same`},
	}, "apart/store/lenient", "R6"},
	{"a loser compares no holder", []edit{
		{"outcome.go", `case !t.mine(e) && e.lease.held(generation):`, `case !t.mine(e) && e.lease.held(generation) && false:`},
	}, "apart/cookie/lenient", "R6"},
	{"no tombstone is seen", []edit{
		{"outcome.go", `case e.ended != "": // R3`, `case e.ended == "-": // R3`},
	}, "logout/cookie/strict", "R3"},
	{"a failure sees no tombstone", []edit{
		{"outcome.go", `		case e.ended != "":
			o.err = fail`, `		case e.ended == "-":
			o.err = fail`},
	}, "peer/cookie/strict", "R3"},
	{"what comes late is not revoked", []edit{
		{"outcome.go", `m.shared.work.start(func() { m.revoke(ctx, t.srv, got) })`, ``},
	}, "logout/store/strict", "R3"},
	{"nobody hands in what the cookie has", []edit{
		{"load.go", `if e.due {`, `if false {`},
	}, "peer/cookie/strict", "R3"},
	{"no intent", []edit{
		{"transaction.go", `			f.spent++`, ``},
	}, "alive/store/strict", "R1"},
	{"a third time", []edit{
		{"transaction.go", `case t.usedUp(f, now): // there`, `case t.usedUp(f, now) && false: // there`},
	}, "twice/cookie/strict", "R1"},
	{"no renewal", []edit{
		{"transaction.go", `for next := time.Now().Add(beatTime); pause(ctx, time.Until(next)) == nil; next = next.Add(beatTime) {`, `for false {`},
	}, "calm/cookie/strict", "R8"},
	{"a lease that stands still", []edit{
		{"transaction.go", `e.lease.beat++`, ``},
	}, "calm/store/strict", "R8"},
	{"a lease that failed is not withdrawn", []edit{
		{"transaction.go", `return t.settle(ctx, func() {}, t.withdraw(m.storeFailed(ctx, &t.rec, err)))`, `return nil, false, m.storeFailed(ctx, &t.rec, err)`},
	}, "store/cookie/strict", "events"},
	{"the request's context", []edit{
		{"refresh.go", `background), context.WithoutCancel(ctx)`, `background), ctx`},
		{"transaction.go", `ctx = context.WithoutCancel(ctx) // it may`, `// it may`},
	}, "gone/store/strict", "R4"},
	{"a result is offered once", []edit{
		{"outcome.go", `for pause(ctx, settleRetry) == nil {`, `for false {`},
	}, "store/cookie/strict", "R7"},
	{"no merge", []edit{
		{"outcome.go", `e.rec.tokens, e.rec.id = next, t.rec.id`, `e.rec = t.rec
		e.rec.tokens = next`},
	}, "save/store/strict", "merge"},
	{"a flight for everybody", []edit{
		{"refresh.go", `return flightKey{r.id, r.issuer,`, `return flightKey{sessionID{}, r.issuer,`},
	}, "users/cookie/strict", "R2"},
}

// TestModelFindsBugs takes one precaution of the engine away at a time and shows that TestModel notices. What it takes away
// it does not find any more when the engine has changed: then say here what it is now.
func TestModelFindsBugs(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the package once for each bug")
	}
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Fatal(err)
	}
	folder, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	// Other tests are not built: they take most of the time.
	replace := map[string]string{}
	tests, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range tests {
		if base := filepath.Base(f); !strings.HasPrefix(base, "model") || base == "model_mutants_test.go" {
			replace[f] = ""
		}
	}
	for _, m := range mutants {
		t.Run(strings.ReplaceAll(m.name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			overlay := m.overlay(t, folder, replace)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			only := "^TestModel$/^" + strings.ReplaceAll(m.scenario, "/", "$/^") + "$"
			cmd := exec.CommandContext(ctx, goTool, "test", "-overlay", overlay, "-vet=off", "-count=1", "-run", only, ".")
			cmd.Dir = folder
			cmd.Env = append(os.Environ(), modelReplay+"=")
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Fatalf("no schedule of %s shows it", m.scenario)
			}
			found := regexp.MustCompile(`schedule (\d+) breaks\n`).FindSubmatch(out)
			if found == nil {
				t.Fatalf("not a finding: %s", out)
			}
			if !regexp.MustCompile(`(?m)^ +` + m.breaks + `: `).Match(out) {
				t.Fatalf("%s is not what breaks: %s", m.breaks, out)
			}
			t.Logf("%s: found in schedule %s of %s", m.breaks, found[1], m.scenario)
		})
	}
}

// overlay writes the mutant beside the engine, and returns the file that says so to the go command.
func (m *mutant) overlay(t *testing.T, folder string, replace map[string]string) string {
	temp := t.TempDir()
	all := maps.Clone(replace)
	for _, e := range m.edits {
		// What an earlier edit has made of it, or else the engine's own.
		source, err := os.ReadFile(cmp.Or(all[filepath.Join(folder, e.file)], filepath.Join(folder, e.file)))
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(source), e.old); n != 1 {
			t.Fatalf("%s has %q %d times, and must have it once", e.file, e.old, n)
		}
		changed := filepath.Join(temp, e.file)
		if err := os.WriteFile(changed, []byte(strings.Replace(string(source), e.old, e.new, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		all[filepath.Join(folder, e.file)] = changed
	}
	text, err := json.Marshal(map[string]any{"Replace": all})
	if err != nil {
		t.Fatal(err)
	}
	overlay := filepath.Join(temp, "overlay.json")
	if err := os.WriteFile(overlay, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return overlay
}
