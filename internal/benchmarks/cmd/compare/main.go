// compare measures ours, the floor and the peers in one run and prints what it held the project's targets to.
//
//	go run ./cmd/compare                     # everything, about seven minutes
//	go run ./cmd/compare -only read -rounds 60
//
// It exits with 1 if a target was missed, which is for a person to judge: see README.md.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/benchmarks/child"
	"github.com/sallyport/sallyport/internal/benchmarks/logins"
	"github.com/sallyport/sallyport/internal/benchmarks/measure"
)

type options struct {
	heap       int // MB
	rounds     int
	batch      time.Duration
	loadRounds int
	loadTime   time.Duration
}

type section struct {
	name string
	run  func(options) ([]measure.Target, error)
}

var sections = []section{{"read", read}, {"write", write}, {"http", load}, {"login", login}, {"redis", redisRead}, {"redis-http", redisLoad}, {"swap", swap}}

// roles are what this program does in processes of their own.
var roles = map[string]child.Role{"authorization-server": logins.Server, "application": application}

func main() {
	if child.Main(roles) {
		return
	}
	met, err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(2)
	}
	if !met {
		os.Exit(1)
	}
}

func run() (met bool, err error) {
	var o options
	names := make([]string, len(sections))
	for i, s := range sections {
		names[i] = s.name
	}
	only := flag.String("only", strings.Join(names, ","), "sections to run")
	flag.IntVar(&o.rounds, "rounds", 30, "interleaved rounds")
	flag.DurationVar(&o.batch, "batch", 50*time.Millisecond, "time for one case in one round")
	flag.IntVar(&o.heap, "heap", 32, "MB of memory to hold meanwhile, as an application does; 0: the collector runs every few thousand requests")
	flag.IntVar(&o.loadRounds, "load-rounds", 6, "rounds of the http section")
	flag.DurationVar(&o.loadTime, "load-time", time.Second, "time for one server in one round, whole seconds")
	flag.Parse()
	if flag.NArg() > 0 || o.rounds < 1 || o.loadRounds < 1 || o.loadTime < time.Second || o.batch <= 0 || o.heap < 0 {
		return false, errors.New("see -help")
	}
	chosen := strings.Split(*only, ",")
	for _, name := range chosen {
		if !slices.Contains(names, name) {
			return false, fmt.Errorf("no section is called %q; there are %s", name, strings.Join(names, ", "))
		}
	}
	fmt.Printf("%s, %s, %s/%s, %d cores, %d rounds of %v, %d MB of heap\n", time.Now().Format(time.DateOnly), runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), o.rounds, o.batch, o.heap)
	ballast := make([]byte, o.heap<<20)
	defer runtime.KeepAlive(ballast)
	var all []measure.Target
	for _, s := range sections {
		if !slices.Contains(chosen, s.name) {
			continue
		}
		targets, err := s.run(o)
		if err != nil {
			return false, fmt.Errorf("%s: %w", s.name, err)
		}
		all = append(all, targets...)
	}
	fmt.Printf("\n## Targets\n\n%s", measure.Targets(all))
	return !slices.ContainsFunc(all, func(t measure.Target) bool { return !t.Met() }), nil
}

// ratio is a target for one case's cost over another's.
func ratio(all []measure.Series, what, name, base string, m measure.Metric, bound float64) measure.Target {
	t := measure.Target{What: what, Bound: bound, Unit: "×"}
	s, b := measure.Find(all, name), measure.Find(all, base)
	if s == nil || b == nil {
		t.Missing = "no such case"
		return t
	}
	r := s.Over(b, m)
	t.Got, t.Minima = r.Median, r.Minima
	return t
}

// faster is a target for how many times cheaper one case is than another.
func faster(all []measure.Series, what, name, than string, bound float64) measure.Target {
	t := ratio(all, what, than, name, measure.CPU, bound)
	t.AtLeast = true
	return t
}
