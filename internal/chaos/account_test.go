//go:build unix

package chaos

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/session"
)

// moment is so many seconds into a run.
func moment(s float64) time.Time { return time.UnixMicro(1_900_000_000_000_000 + int64(s*1e6)) }

func at(s float64, token uint64, run string, fault disturbance) *arrival {
	return &arrival{at: moment(s), token: token, run: run, fault: fault}
}

func happened(s float64, run, kind string, generation uint64) event {
	return event{At: moment(s).UnixMicro(), Run: run, Kind: kind, Generation: generation}
}

// A loss is explained by what happened to the last refresh tokens, and by nothing else: what the chaos proves rests on that.
func TestExplain(t *testing.T) {
	refreshed := client.EventTokenRefreshed
	interrupted := happened(2, "dead", session.EventRefreshInDoubt, 2)
	interrupted.Reason = "interrupted"
	for _, tc := range []struct {
		name     string
		grace    time.Duration
		arrivals []*arrival
		events   []event
		want     string
	}{
		{"nothing happened", 0, nil, nil, ""},
		{"sent twice for no reason", 0, []*arrival{at(1, 1, "a", ""), at(2, 1, "b", "")}, []event{happened(1.1, "a", refreshed, 2)}, ""},
		{"the answer was lost", 0, []*arrival{at(1, 1, "a", resetAfter), at(5, 1, "b", "")}, nil, causeAfter},
		{"a reset before alone is no reason", 0, []*arrival{at(1, 1, "a", resetBefore), at(5, 1, "b", "")}, nil, ""},
		{"two resets before", 0, []*arrival{at(1, 1, "a", resetBefore), at(5, 1, "b", resetBefore)}, nil, causeTwice},
		{"503 is no reason", 0, []*arrival{at(1, 1, "a", unavailable), at(5, 1, "b", "")}, nil, ""},
		{"in flight at the kill", 0, []*arrival{at(2, 1, "dead", ""), at(7, 1, "b", "")}, nil, causeKill},
		{"kept before the kill", 0, []*arrival{at(2, 1, "dead", ""), at(7, 1, "b", "")}, []event{happened(2.5, "dead", refreshed, 2)}, ""},
		{"it arrives after the kill", 0, []*arrival{at(4, 1, "dead", "")}, nil, causeKill},
		{"quick, and then another token", 0, []*arrival{at(2, 1, "dead", ""), at(7, 2, "b", "")}, nil, ""},
		{"taken late, after the next refresh", 0, []*arrival{at(2, 1, "dead", slow), at(7, 1, "b", ""), at(10, 2, "b", "")}, []event{happened(7.1, "b", refreshed, 2)}, causeKill},
		{"long ago", 0, []*arrival{at(1, 1, "a", resetAfter), at(5, 2, "b", ""), at(8, 3, "b", "")}, nil, ""},
		{"after the loss", 0, []*arrival{at(1, 1, "a", ""), at(50, 1, "a", resetAfter)}, nil, ""},
		{"in the window one is forgiven", time.Minute, []*arrival{at(1, 1, "a", resetAfter), at(5, 1, "b", "")}, nil, ""},
		{"in the window a kill is forgiven", time.Minute, []*arrival{at(2, 1, "dead", ""), at(7, 1, "b", "")}, nil, ""},
		{"both killed before they sent it", 0, nil, []event{happened(9, "b", session.EventGrantLost, 2)}, causeTwice},
		{"nobody killed since it was well", 0, nil, []event{happened(8, "b", refreshed, 2), happened(9, "b", session.EventGrantLost, 2)}, ""},
		{"one killed before it sent it, the other reset", time.Minute, []*arrival{at(7, 1, "b", resetBefore)}, []event{interrupted}, causeTwice},
		{"one killed before it sent it", time.Minute, nil, []event{interrupted}, ""},
		{"in the window two in a row", time.Minute, []*arrival{at(2, 1, "dead", ""), at(7, 1, "b", resetAfter)}, nil, causeTwice},
	} {
		r := &run{cfg: Config{Grace: tc.grace}, killed: map[string]time.Time{"dead": moment(3), "other": moment(5)}}
		if got, _ := r.explain(tc.arrivals, tc.events, moment(20)); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

func TestTold(t *testing.T) {
	ended := happened(5, "a", client.EventSessionEnded, 2)
	revoked, replaced := ended, ended
	revoked.Reason, replaced.Reason = "grant_revoked", "replaced"
	lost := happened(5, "a", session.EventGrantLost, 2)
	again := happened(6, "a", client.EventSessionCreated, 1)
	for _, tc := range []struct {
		name   string
		events []event
		want   bool
	}{
		{"nothing", nil, false}, {"revoked", []event{revoked}, true}, {"grant lost", []event{lost}, true},
		{"replaced by a login", []event{replaced}, false}, {"before the login", []event{revoked, again}, false},
		{"after the loss", []event{happened(30, "a", session.EventGrantLost, 2)}, false},
	} {
		if got := told(tc.events, moment(20)); got != tc.want {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
}

// A refresh token that is sent again without a reason is found, whatever comes of it.
func TestRepeated(t *testing.T) {
	for _, tc := range []struct {
		name          string
		first, second *arrival
		wrong         bool
	}{
		{"no reason", at(1, 1, "a", ""), at(2, 1, "b", ""), true},
		{"slow is no reason: the lease is renewed", at(1, 1, "a", slow), at(6, 1, "b", ""), true},
		{"another token", at(1, 1, "a", ""), at(2, 2, "b", ""), false},
		{"reset", at(1, 1, "a", resetBefore), at(2, 1, "b", ""), false},
		{"503", at(1, 1, "a", unavailable), at(4, 1, "b", ""), false},
		{"killed", at(2, 1, "dead", ""), at(7, 1, "b", ""), false},
		{"the store was away", at(9, 1, "a", ""), at(14, 1, "b", ""), false},
	} {
		r := &run{killed: map[string]time.Time{"dead": moment(3)}, blackouts: []blackout{{moment(10), moment(12)}}}
		if got := r.repeated([]*arrival{tc.first, tc.second}, nil); (len(got) > 0) != tc.wrong {
			t.Errorf("%s: %q", tc.name, got)
		}
	}
}

func TestBackward(t *testing.T) {
	kept := []event{happened(1.1, "a", client.EventTokenRefreshed, 2)}
	twice := []*arrival{at(1, 1, "a", ""), at(5, 1, "b", "")}
	if !backward(twice, kept) {
		t.Error("a replacement that was acknowledged and lost is not found")
	}
	if backward(twice, nil) || backward(twice[:1], kept) || backward([]*arrival{at(1, 1, "a", ""), at(5, 2, "b", "")}, kept) {
		t.Error("nothing was lost")
	}
}

func TestFailures(t *testing.T) {
	good := Account{Served: 1, Rotations: 1, Causes: map[string]int{}}
	if f := good.Failures(); len(f) != 0 {
		t.Errorf("%q", f)
	}
	for name, change := range map[string]func(a *Account){
		"foreign":     func(a *Account) { a.Foreign = 1 },
		"unexpected":  func(a *Account) { a.Tasteless = 1 },
		"unexplained": func(a *Account) { a.Unexpected = []string{"it"} },
		"stuck":       func(a *Account) { a.Stuck = 1 },
		"idle":        func(a *Account) { a.Rotations = 0 },
		"lost":        func(a *Account) { a.Config.Grace, a.Lost = time.Minute, 1 },
		"revoked":     func(a *Account) { a.Config.Grace, a.Revoked = time.Minute, 1 },
	} {
		a := good
		if change(&a); len(a.Failures()) != 1 {
			t.Errorf("%s: %q", name, a.Failures())
		}
	}
	strict := good
	strict.Lost, strict.Revoked, strict.Causes = 2, 2, map[string]int{causeKill: 2}
	if f := strict.Failures(); len(f) != 0 {
		t.Errorf("explained losses without a window: %q", f)
	}
}

// What a killed process wrote half does not hide the rest.
func TestReadEvents(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"events.0": `{"At":3,"Run":"0.1","Browser":7,"Kind":"c"}` + "\n" + `{"At":2,"Run":"0.1","Brow` + "\n" + `{"At":1,"Run":"0.2","Browser":7,"Kind":"a"}` + "\n",
		"events.1": `{"At":2,"Run":"1.1","Browser":7,"Kind":"b"}` + "\n" + `{"At":2,"Run":"1.1","Browser":8,"Kind":"d"}` + "\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	events, err := readEvents(dir)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, e := range events[7] {
		kinds = append(kinds, e.Kind)
	}
	if !slices.Equal(kinds, []string{"a", "b", "c"}) || len(events[8]) != 1 {
		t.Errorf("%q, %v", kinds, events[8])
	}
}
