package storetest_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/session"
	"github.com/sallyport/sallyport/session/storetest"
)

// flawVariable makes TestServer prove a store with that flaw, which must fail.
const flawVariable = "SALLYPORT_STORETEST_FLAW"

// flaws and the subtest that must find each.
var flaws = []struct{ flaw, subtest string }{
	{"absent is empty", "records/absent"},
	{"another version", "records/first write"},
	{"version may be negative", "records/first write"},
	{"0 overwrites", "records/only if absent"},
	{"acknowledges only", "records/replaced"},
	{"older is good enough", "records/conflict"},
	{"negative is absent", "records/conflict"},
	{"any version creates", "records/conflict"},
	{"versions of 32 bits", "records/conflict"},
	{"empty is absent", "records/values"},
	{"text", "records/values"},
	{"ends at NUL", "records/values"},
	{"cuts at 60 kB", "records/values"},
	{"keys in lower case", "records/keys"},
	{"keys of 63 bytes", "records/keys"},
	{"colons are a path", "records/keys"},
	{"keeps the passed value", "records/passed value is not kept"},
	{"returns its own value", "records/returned value belongs to the caller"},
	{"version of the value", "records/versions"},
	{"never expires", "records/expiry"},
	{"a read prolongs", "records/expiry"},
	{"whole seconds", "records/expiry"},
	{"milliseconds of 32 bits", "records/long ttl"},
	{"microseconds of 32 bits", "records/long ttl"},
	{"at most 30 days", "records/long ttl"},
	{"ttl of the first write", "records/ttl of the last write"},
	{"a conflict moves the expiry", "records/ttl after a conflict"},
	{"version starts again", "records/version after expiry"},
	{"what has expired conflicts", "records/version after expiry"},
	{"looks first", "records/increments"},
	{"a conflict without a cause", "records/increments"},
	{"reads are cached", "records/increments"},
	{"looks first if absent", "records/one winner"},
	{"looks first if expired", "records/one successor"},
	{"a done context is waited out", "records/done context"},
	{"a done context is absence", "records/done context"},
	{"a done context is a conflict", "records/done context"},
	{"writes in two parts", "records/cancelled"},
	{"answers go astray", "records/cancelled"},
	{"reads are cached", "handles"},
	{"an outage is waited out", "outage"},
	{"an outage is absence", "outage"},
	{"an outage ignores the context", "outage"},
	{"a restart counts from 1", "restart"},
	{"a restart mixes", "restart"},
}

// TestServer proves a store that has no flaw, unless TestFlaws asks for one.
func TestServer(t *testing.T) {
	t.Parallel()
	s := newServer(os.Getenv(flawVariable))
	storetest.Config{
		Open:    func(*testing.T) session.Store { return s.connect() },
		Restart: func(*testing.T) { s.restart() },
		Pause:   func(*testing.T) func() { return s.pause() },
	}.Run(t)
}

// A kit that lets a broken store pass proves nothing. Each flaw is run in a process of its own, which must fail.
func TestFlaws(t *testing.T) {
	t.Parallel()
	for _, name := range storetest.Promises() {
		if !slices.ContainsFunc(flaws, func(f struct{ flaw, subtest string }) bool { return f.subtest == name }) {
			t.Errorf("no flaw shows that %q can fail", name)
		}
	}
	type result struct {
		out []byte
		err error
	}
	results := make([]chan result, len(flaws))
	running := make(chan struct{}, 12) // they wait, mostly
	for i, f := range flaws {
		results[i] = make(chan result, 1)
		go func() {
			running <- struct{}{}
			defer func() { <-running }()
			out, err := runFlaw(t.Context(), f.flaw, f.subtest)
			results[i] <- result{out, err}
		}()
	}
	for i, f := range flaws {
		t.Run(f.flaw+"/"+f.subtest, func(t *testing.T) {
			r := <-results[i]
			failed := "--- FAIL: TestServer/" + underscored(f.subtest) + " "
			if r.err == nil || !bytes.Contains(r.out, []byte(failed)) || bytes.Contains(r.out, []byte("panic:")) {
				t.Errorf("it was not found (%v):\n%s", r.err, r.out)
			}
		})
	}
}

// runFlaw runs one subtest on the store with the flaw, in a process of its own.
func runFlaw(ctx context.Context, flaw, subtest string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	path := strings.Split("TestServer/"+underscored(subtest), "/")
	for i := range path {
		path[i] = "^" + regexp.QuoteMeta(path[i]) + "$"
	}
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.v", "-test.run", strings.Join(path, "/"))
	cmd.Env = append(os.Environ(), flawVariable+"="+flaw)
	return cmd.CombinedOutput()
}

// underscored is a name as the testing package prints it.
func underscored(name string) string { return strings.ReplaceAll(name, " ", "_") }
