package main

import (
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/benchmarks/child"
	"github.com/sallyport/sallyport/internal/benchmarks/measure"
	"github.com/sallyport/sallyport/internal/benchmarks/sessions"
)

func TestMain(m *testing.M) {
	if child.Main(roles) {
		return
	}
	os.Exit(m.Run())
}

func TestSectionsMeasureTheirTargets(t *testing.T) {
	// One short round: what it says about time means nothing, but every target must have its cases.
	o := options{rounds: 1, batch: time.Millisecond}
	want := map[string]int{"read": 10, "write": 2, "login": 2, "redis": 4, "swap": 6}
	for _, s := range sections {
		if s.name == "http" || s.name == "redis-http" { // take whole seconds: their server is tested below
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			targets, err := s.run(o)
			if err != nil {
				t.Fatal(err)
			}
			if len(targets) != want[s.name] {
				t.Errorf("%d targets, want %d", len(targets), want[s.name])
			}
			for _, target := range targets {
				if strings.HasSuffix(target.Missing, "not installed") && os.Getenv("SALLYPORT_REQUIRE_ALL") != "1" {
					t.Skip(target.Missing)
				}
				if target.Missing != "" || target.Got < 0 || target.Got == 0 && target.Bound != 0 {
					t.Errorf("%s: %v %s", target.What, target.Got, target.Missing)
				}
			}
		})
	}
}

func TestApplicationServesItsSession(t *testing.T) {
	for _, kind := range []string{sessions.Sallyport, sessions.GorillaSessions} {
		p, err := child.Start("application", "1 - "+kind, 0)
		if err != nil {
			t.Fatal(err)
		}
		for cookie, want := range map[string]int{p.Report[1]: http.StatusOK, strings.Replace(p.Report[1], "=", "=A", 1): http.StatusUnauthorized} {
			r, err := http.NewRequest("GET", p.Report[0], nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Cookie", cookie)
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || resp.StatusCode != want {
				t.Errorf("%s: status %d, want %d: %s", kind, resp.StatusCode, want, body)
			}
		}
		p.Stop()
	}
	for _, argument := range []string{"", "x - " + sessions.Bare, "1 - nothing", "1 127.0.0.1:1 " + sessions.RedisSallyport} {
		if _, _, err := application(argument); err == nil {
			t.Errorf("application(%q) started", argument)
		}
	}
}

func TestRatios(t *testing.T) {
	all := []measure.Series{
		{Name: "a", Samples: []measure.Sample{{CPU: 2}, {CPU: 4}, {CPU: 6}}},
		{Name: "b", Samples: []measure.Sample{{CPU: 1}, {CPU: 2}, {CPU: 1}}},
	}
	if got := ratio(all, "", "a", "b", measure.CPU, 1.5); got.Got != 2 || got.Minima != 2 || got.AtLeast || got.Met() {
		t.Errorf("ratio: %+v", got)
	}
	if got := faster(all, "", "b", "a", 1.5); got.Got != 2 || !got.AtLeast || !got.Met() {
		t.Errorf("faster: %+v", got)
	}
	if got := ratio(all, "", "a", "c", measure.CPU, 100); got.Met() {
		t.Error("a target without its case is met")
	}
}
