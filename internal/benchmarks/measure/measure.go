// Package measure times several ways of doing one thing against each other on a machine that does
// other work too: in interleaved rounds, so that what slows the machine down slows all of them, and
// reports ratios within a round.
package measure

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"sync"
	"time"
)

// Case is one way of doing the thing. Run does it n times.
type Case struct {
	Name string
	Run  func(n int) error
	// Server, if set, is the processor time that the server has used that Run talks to.
	Server func() (time.Duration, error)
}

// Sample is what one operation cost in one round.
type Sample struct {
	CPU    float64 // ns of processor time of this process, the garbage collector's included
	Wall   float64 // ns
	Server float64 // ns of processor time of the server; 0 if there is none or nobody knows
	Allocs float64
	Bytes  float64
}

// Series is the samples of one case, one a round.
type Series struct {
	Name    string
	Samples []Sample
}

// Interleave runs every case once a round, for about batch each, beginning with another one each
// round. The result has the cases' order.
func Interleave(cases []Case, rounds int, batch time.Duration) ([]Series, error) {
	all := make([]Series, len(cases))
	counts := make([]int, len(cases))
	for i, c := range cases {
		all[i].Name = c.Name
		var err error
		if counts[i], err = calibrate(c, batch); err != nil {
			return nil, fmt.Errorf("%s: %w", c.Name, err)
		}
	}
	for round := range rounds {
		for k := range cases {
			i := (k + round) % len(cases)
			s, err := once(cases[i], counts[i])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", cases[i].Name, err)
			}
			all[i].Samples = append(all[i].Samples, s)
		}
	}
	return all, nil
}

// calibrate finds how many operations take about batch; it warms the case up on the way. It goes by processor time:
// by the clock, one that was interrupted would get too small a batch for all rounds.
func calibrate(c Case, batch time.Duration) (int, error) {
	for n := 1; ; n *= 2 {
		took, _, err := timed(c, n)
		if err != nil {
			return 0, err
		}
		if took >= batch/2 || n >= 1<<24 {
			return max(1, int(float64(n)*float64(batch)/float64(max(took, 1)))), nil
		}
	}
}

// timed is processor time, where the system tells it, and the clock's.
func timed(c Case, n int) (cpu, wall time.Duration, err error) {
	before, start := cpuTime(), time.Now()
	err = c.Run(n)
	wall = time.Since(start)
	if cpu = cpuTime() - before; cpu <= 0 {
		cpu = wall
	}
	return cpu, wall, err
}

func once(c Case, n int) (Sample, error) {
	var before, after runtime.MemStats
	runtime.GC() // each batch begins with the same heap
	served, err := c.served()
	if err != nil {
		return Sample{}, err
	}
	runtime.ReadMemStats(&before)
	cpu, wall, err := timed(c, n)
	runtime.ReadMemStats(&after)
	if err != nil {
		return Sample{}, err
	}
	end, err := c.served()
	per := 1 / float64(n)
	return Sample{
		CPU: float64(cpu) * per, Wall: float64(wall) * per, Server: float64(end-served) * per,
		// Whole ones, as testing.B counts: what is done once a batch is not the operation's.
		Allocs: math.Floor(float64(after.Mallocs-before.Mallocs) * per),
		Bytes:  float64(after.TotalAlloc-before.TotalAlloc) * per,
	}, err
}

func (c *Case) served() (time.Duration, error) {
	if c.Server == nil {
		return 0, nil
	}
	return c.Server()
}

// Concurrently shares n operations out to workers and returns their errors.
func Concurrently(workers, n int, run func(worker, n int) error) error {
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		share := n / workers
		if w < n%workers {
			share++
		}
		if share > 0 {
			wg.Go(func() { errs[w] = run(w, share) })
		}
	}
	wg.Wait()
	return errors.Join(errs...)
}
