package main

import (
	"fmt"
	"time"
)

// view is what a person sees: a line a second.
type view struct {
	*cluster
	began    time.Time
	lines    int
	requests int
}

const columns = "%6s  %8s  %10s  %9s  %8s  %7s  %8s  %5s  %4s  %7s  %16s\n"

func (v *view) line() {
	if v.lines%20 == 0 {
		fmt.Fprintf(v.out, columns, "time", "sessions", "requests/s", "rotations", "followed", "adopted", "in doubt", "50x", "lost", "foreign", "families revoked")
	}
	v.lines++
	l, stats := v.load, v.server.Stats()
	requests := l.requests.get()
	fmt.Fprintf(v.out, columns, v.clock(), text(int(l.alive.Load())), text(requests-v.requests), text(stats.Rotations),
		text(v.events("refresh.waited")), text(v.events("refresh.adopted")), text(v.events("refresh.in_doubt")),
		text(l.unavailable.get()), text(l.lost.get()), text(l.foreign.get()), text(len(stats.Reused)))
	v.requests = requests
}

func (v *view) note(line string) { fmt.Fprintf(v.out, "%6s  %s\n", v.clock(), line) }

func (v *view) clock() string {
	s := int(time.Since(v.began).Seconds())
	return fmt.Sprintf("%02d:%02d", s/60, s%60)
}

func text(n int) string { return fmt.Sprint(n) }

// events is how many events of a kind all replicas have logged.
func (v *view) events(kind string) (n int) {
	for _, r := range v.replicas {
		n += r.count(kind)
	}
	return n
}

// verdict says what came of it. A strict server may revoke a family when a replica is killed between sending a refresh
// token and writing down what it got; the log of the replicas names each. Nothing else ends a session here.
func (v *view) verdict() error {
	l, stats := v.load, v.server.Stats()
	lost, revoked, foreign := l.lost.get(), len(stats.Reused), l.foreign.get()
	kills := 0
	for _, r := range v.replicas {
		kills += r.kills
	}
	fmt.Fprintf(v.out, "\n%d requests, %d refreshes sent, %d rotations, %d replicas killed\n", l.requests.get(), stats.Refreshes, stats.Rotations, kills)
	fmt.Fprintf(v.out, "told to wait (502, 503): %d, while a replica was down or a refresh not to be had\n", l.unavailable.get())
	fmt.Fprintf(v.out, "sessions lost: %d · families revoked: %d · answers for somebody else: %d\n", lost, revoked, foreign)
	switch {
	case l.requests.get() == 0:
		return fmt.Errorf("no request came through")
	case foreign > 0:
		return fmt.Errorf("%d answers were for somebody else", foreign)
	case lost > revoked, lost > 0 && (kills == 0 || v.grace > 0):
		return fmt.Errorf("%d sessions were lost, %d of them with their family", lost, revoked)
	}
	fmt.Fprintln(v.out, "PASS")
	return nil
}
