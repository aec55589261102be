package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestReadFlags(t *testing.T) {
	for _, args := range [][]string{
		{"-replicas", "0"}, {"-users", "0"}, {"-store", "mysql"}, {"-placement", "both"}, {"-token-lifetime", "1500ms"},
		{"-grace", "-1s"}, {"-pause", "0s"}, {"-parallel", "65"}, {"more"}, {"-nonsense"},
	} {
		if _, err := readFlags(args, new(strings.Builder)); err == nil {
			t.Errorf("%v was taken", args)
		}
	}
	if o, err := readFlags(nil, new(strings.Builder)); err != nil || o.replicas != 3 || o.store != "redis" || o.grace != 0 {
		t.Errorf("%+v, %v", o, err)
	}
}

// output is what a person would read; it is written and read at the same time.
type output struct {
	mu sync.Mutex
	b  strings.Builder
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// TestCluster lets users work for a few seconds while a replica is killed, in each placement and on each store.
func TestCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	for name, args := range map[string][]string{
		"redis":            {"-store", "redis", "-chaos"},
		"cookies":          {"-store", "redis", "-placement", "cookie"},
		"postgres, grace":  {"-store", "postgres", "-chaos", "-grace", "10s"},
		"postgres, cookie": {"-store", "postgres", "-placement", "cookie"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o, err := readFlags(append(args, "-listen", "127.0.0.1:0", "-users", "12", "-token-lifetime", "2s", "-pause", "300ms", "-chaos-every", "1s", "-duration", "4s"), os.Stderr)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			out := new(output)
			err = run(ctx, o, out)
			if err != nil && strings.Contains(err.Error(), "is not installed") && os.Getenv("SALLYPORT_REQUIRE_ALL") == "" {
				t.Skip(err)
			}
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			text := out.String()
			if !strings.Contains(text, "listening on http://127.0.0.1:") || strings.Contains(text, ", 0 rotations") {
				t.Fatalf("nothing happened:\n%s", text)
			}
			if o.chaos && !strings.Contains(text, " is back") {
				t.Errorf("nobody was killed:\n%s", text)
			}
		})
	}
}

// A request that may have reached a replica is not sent to another one, unless it changes nothing.
func TestProxy(t *testing.T) {
	hits := 0
	alive := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hits++
		if r.Host != "app.example" {
			t.Errorf("host %q", r.Host)
		}
	}))
	defer alive.Close()
	dead := httptest.NewServer(nil)
	dead.Close()
	addr := func(s *httptest.Server) string { return strings.TrimPrefix(s.URL, "http://") }
	p := newProxy([]*replica{{addr: addr(alive)}, {addr: addr(dead)}})
	ask := func(method, path string) int {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(method, "http://app.example"+path, nil)
		p.ServeHTTP(w, r)
		return w.Code
	}
	for range 4 {
		if status := ask("GET", "/api/resource"); status != 200 {
			t.Errorf("GET: %d", status)
		}
	}
	for _, r := range [][2]string{{"POST", "/auth/logout"}, {"GET", "/auth/callback"}} {
		got := map[int]int{}
		for range 4 {
			got[ask(r[0], r[1])]++
		}
		if got[200] != 2 || got[502] != 2 {
			t.Errorf("%s: %v", r, got)
		}
	}
	if hits != 8 {
		t.Errorf("%d requests arrived", hits)
	}
}

// A replica that does not start says why.
func TestReplicaThatEnds(t *testing.T) {
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip(err)
	}
	file := t.TempDir() + "/replica"
	if err := os.WriteFile(file, []byte("#!/bin/sh\necho the reason >&2\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := startReplica(t.Context(), 7, file, nil)
	if err == nil || !strings.Contains(err.Error(), "replica 7") || !strings.Contains(err.Error(), "the reason") || errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
