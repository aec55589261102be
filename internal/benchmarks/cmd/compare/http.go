package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/benchmarks/child"
	"github.com/sallyport/sallyport/internal/benchmarks/measure"
	"github.com/sallyport/sallyport/internal/benchmarks/sessions"
)

// application is the role of a server that holds as much memory, and keeps sessions in the way, as its argument says.
func application(argument string) (report []string, stop func(), err error) {
	heap, name, _ := strings.Cut(argument, " ")
	megabytes, err := strconv.Atoi(heap)
	if err != nil {
		return nil, nil, err
	}
	ballast := make([]byte, megabytes<<20)
	k, err := sessions.Named(name)
	if err != nil {
		return nil, nil, err
	}
	s, err := k.New()
	if err != nil {
		return nil, nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	server := &http.Server{Handler: s.Handler, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(l) }()
	return []string{"http://" + l.Addr().String() + "/", s.Cookie}, func() { _ = server.Close(); runtime.KeepAlive(ballast) }, nil
}

// load is a server on core 0 under wrk on core 1. Each kind is paired with a bare server that gets the same
// request, cookie included: what is left is the session's own cost. It is judged by requests per second of the server's
// processor time: that is the rate of a core that nobody else uses.
func load(o options) ([]measure.Target, error) {
	target := measure.Target{What: "requests a second, of a bare handler with the same request", Bound: 0.80, AtLeast: true}
	if _, err := exec.LookPath("wrk"); err != nil {
		target.Missing = "wrk is not installed"
		return []measure.Target{target}, nil
	}
	start := func(kind string) (*child.Process, error) {
		return child.Start("application", strconv.Itoa(o.heap)+" "+kind, 0)
	}
	bare, err := start(sessions.Bare)
	if err != nil {
		return nil, err
	}
	defer bare.Stop()
	kinds := []string{sessions.Floor, sessions.Sallyport, sessions.SallyportSecureCookie, sessions.SecureCookiePlus, sessions.SCS, sessions.GorillaSessions}
	servers := make([]*child.Process, len(kinds))
	series, bares := make([]measure.Series, len(kinds)), make([]measure.Series, len(kinds))
	for i, k := range kinds {
		if servers[i], err = start(k); err != nil {
			return nil, err
		}
		defer servers[i].Stop()
		series[i].Name = k
	}
	for range o.loadRounds {
		for i, s := range servers {
			a, err := wrk(bare, s.Report[1], o.loadTime)
			if err != nil {
				return nil, err
			}
			b, err := wrk(s, s.Report[1], o.loadTime)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", kinds[i], err)
			}
			bares[i].Samples, series[i].Samples = append(bares[i].Samples, a), append(series[i].Samples, b)
		}
	}
	fmt.Printf("\n## HTTP: one core under load\n\n| | requests/s | of bare | of bare, by CPU | minima | IQR | CPU µs/request | bare | added |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|\n")
	for i := range kinds {
		s, b := &series[i], &bares[i]
		// Samples hold what a request took: bare over ours is the share of requests.
		rate, share := b.Over(s, measure.Wall), b.Over(s, measure.CPU)
		cpu, bareCPU := s.Median(measure.CPU)/1e3, b.Median(measure.CPU)/1e3
		fmt.Printf("| %s | %.0f | %s | %s | %s | %s | %s | %s | %s |\n", kinds[i], 1e9/s.Median(measure.Wall), measure.Number(rate.Median), measure.Number(share.Median),
			measure.Number(share.Minima), measure.Number(share.IQR), measure.Number(cpu), measure.Number(bareCPU), measure.Number(cpu-bareCPU))
		if kinds[i] == sessions.Sallyport {
			target.Got, target.Minima = share.Median, share.Minima
			if cpu == 0 { // the system does not tell
				target.Got, target.Minima = rate.Median, rate.Minima
			}
		}
	}
	return []measure.Target{target}, nil
}

var (
	requests = regexp.MustCompile(`(\d+) requests in`)
	rate     = regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`)
)

// wrk loads a server and returns what one request took: the wall clock at full load, and the server's CPU.
func wrk(server *child.Process, cookie string, d time.Duration) (measure.Sample, error) {
	before := processTime(server.PID)
	out, err := child.Pinned(1, "wrk", "-t1", "-c32", "-d"+strconv.Itoa(int(d/time.Second))+"s", "-H", "Cookie: "+cookie, server.Report[0]).CombinedOutput()
	used := processTime(server.PID) - before
	if err != nil {
		return measure.Sample{}, fmt.Errorf("wrk: %w: %s", err, out)
	}
	if bytes.Contains(out, []byte("Non-2xx")) {
		return measure.Sample{}, errors.New("the server refused its own cookie")
	}
	n, r := requests.FindSubmatch(out), rate.FindSubmatch(out)
	if n == nil || r == nil {
		return measure.Sample{}, fmt.Errorf("wrk said: %s", out)
	}
	count, _ := strconv.ParseFloat(string(n[1]), 64)
	perSecond, _ := strconv.ParseFloat(string(r[1]), 64)
	if count == 0 || perSecond == 0 {
		return measure.Sample{}, errors.New("no request was answered")
	}
	return measure.Sample{Wall: 1e9 / perSecond, CPU: float64(used) / count}, nil
}

// processTime is the processor time of another process; 0 where the system does not tell.
func processTime(pid int) time.Duration {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * 10 * time.Millisecond // clock ticks, 100 a second on Linux
}
