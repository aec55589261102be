// cost measures what sessions cost a store: memory, operations, and how many refreshes a second a core of the application and a
// Redis carry, for small and large numbers of sessions.
//
//	go run ./cmd/cost                              # everything, about ten minutes; Markdown
//	go run ./cmd/cost -only operations,refresh -sessions 1000,10000
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/benchmarks/child"
	"github.com/sallyport/sallyport/internal/benchmarks/logins"
	"github.com/sallyport/sallyport/session"
)

type options struct {
	sessions, rows []int // how many in Redis, and in PostgreSQL
	rounds         int
	batch          time.Duration
	load           time.Duration // of refreshes on PostgreSQL
}

type section struct {
	name string
	run  func(options) error
}

var sections = []section{{"operations", operations}, {"refresh", refresh}, {"postgres", postgres}}

// roles are what this program does in processes of their own.
var roles = map[string]child.Role{"authorization-server": logins.Server}

func main() {
	if child.Main(roles) {
		return
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "cost:", err)
		os.Exit(2)
	}
}

func run() error {
	var o options
	names := make([]string, len(sections))
	for i, s := range sections {
		names[i] = s.name
	}
	only := flag.String("only", strings.Join(names, ","), "sections to run")
	inRedis := flag.String("sessions", "1000,10000,100000", "numbers of sessions in Redis")
	inPostgres := flag.String("rows", "1000,10000", "numbers of sessions in PostgreSQL")
	flag.IntVar(&o.rounds, "rounds", 15, "interleaved rounds of refreshes")
	flag.DurationVar(&o.batch, "batch", 150*time.Millisecond, "processor time for one number of sessions in one round")
	flag.DurationVar(&o.load, "load", 130*time.Second, "how long sessions in PostgreSQL are refreshed, to see what its vacuum does")
	flag.Parse()
	var err1, err2 error
	o.sessions, err1 = numbers(*inRedis)
	o.rows, err2 = numbers(*inPostgres)
	if flag.NArg() > 0 || o.rounds < 1 || o.batch <= 0 || o.load < 0 || err1 != nil || err2 != nil {
		return errors.New("see -help")
	}
	fmt.Printf("%s, %s, %s/%s, %d cores, %d rounds of %v\n", time.Now().Format(time.DateOnly), runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), o.rounds, o.batch)
	// One processor of Go code: what is measured is one core of the application. The others are the servers'.
	runtime.GOMAXPROCS(1)
	chosen := strings.Split(*only, ",")
	for _, name := range chosen {
		if !slices.Contains(names, name) {
			return fmt.Errorf("no section is called %q; there are %s", name, strings.Join(names, ", "))
		}
	}
	for _, s := range sections {
		if !slices.Contains(chosen, s.name) {
			continue
		}
		if err := s.run(o); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

func numbers(list string) (all []int, err error) {
	for text := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return nil, errors.New("not a list of numbers")
		}
		all = append(all, n)
	}
	return all, nil
}

// place is where sessions live.
type place struct {
	name string
	put  func(*session.Config, session.Store)
}

var places = []place{
	{"Store", func(c *session.Config, s session.Store) { c.Store = s }},
	{"cookie + Coordination", func(c *session.Config, s session.Store) { c.Coordination = s }},
}

func (p place) config(s session.Store) (c session.Config) {
	p.put(&c, s)
	return c
}

// settle waits until the work of an application that goes on after its answers has reached the store.
func settle() { <-time.After(50 * time.Millisecond) }

var background = context.Background()
