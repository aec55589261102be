package child

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	if Main(map[string]Role{
		"echo": func(argument string) ([]string, func(), error) {
			return []string{"role echo", argument}, func() {}, nil
		},
		"broken": func(string) ([]string, func(), error) { return nil, nil, errors.New("broken") },
	}) {
		return
	}
	os.Exit(m.Run())
}

func TestStart(t *testing.T) {
	for _, core := range []int{-1, 0} {
		p, err := Start("echo", "an argument; with = in it", core)
		if err != nil {
			t.Fatal(err)
		}
		if want := []string{"role echo", "an argument; with = in it"}; p.PID == 0 || !slices.Equal(p.Report, want) {
			t.Errorf("report %q", p.Report)
		}
		p.Stop()
		if !p.cmd.ProcessState.Success() {
			t.Error(p.cmd.ProcessState)
		}
	}
}

func TestStartOfAChildThatFails(t *testing.T) {
	for _, role := range []string{"broken", "unknown"} {
		if _, err := Start(role, "", -1); err == nil || !strings.Contains(err.Error(), role) {
			t.Errorf("%s: %v", role, err)
		}
	}
}

func TestPinned(t *testing.T) {
	if got := Pinned(-1, "wrk", "-t1").Args; !slices.Equal(got, []string{"wrk", "-t1"}) {
		t.Errorf("%q", got)
	}
	if got := Pinned(1<<20, "wrk").Args; !slices.Equal(got, []string{"wrk"}) {
		t.Errorf("a core that is not there: %q", got)
	}
}
