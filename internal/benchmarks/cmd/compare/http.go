package main

import (
	"bytes"
	"cmp"
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

// application is the role of a server that holds as much memory, and keeps sessions in the way, as its argument says: the
// memory, the address of a Redis or "-", the name of the way.
func application(argument string) (report []string, stop func(), err error) {
	heap, rest, _ := strings.Cut(argument, " ")
	redis, name, _ := strings.Cut(rest, " ")
	megabytes, err := strconv.Atoi(heap)
	if err != nil {
		return nil, nil, err
	}
	ballast := make([]byte, megabytes<<20)
	k, err := sessions.Named(name, strings.TrimPrefix(redis, "-"))
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

// load is the http section: sessions in cookies.
func load(o options) ([]measure.Target, error) {
	target := measure.Target{What: "requests a second, of a bare handler with the same request", Bound: 0.80, AtLeast: true}
	all, bares, err := underLoad(o, "", sessions.Floor, sessions.Sallyport, sessions.SallyportSecureCookie, sessions.SecureCookiePlus, sessions.SCS, sessions.GorillaSessions)
	switch {
	case errors.Is(err, errNoWrk):
		target.Missing = err.Error()
		return []measure.Target{target}, nil
	case err != nil:
		return nil, err
	}
	fmt.Printf("\n## HTTP: one core under load\n\n%s", loadTable(all, bares))
	s, b := measure.Find(all, sessions.Sallyport), measure.Find(bares, sessions.Sallyport)
	share := b.Over(s, measure.CPU)
	if s.Median(measure.CPU) == 0 { // the system does not tell
		share = b.Over(s, measure.Wall)
	}
	target.Got, target.Minima = share.Median, share.Minima
	return []measure.Target{target}, nil
}

var errNoWrk = errors.New("wrk is not installed")

// underLoad is a server of each kind on core 0 under wrk on core 1. Each kind is paired with a bare server that gets the same
// request, cookie included: what is left is the session's own cost. It is judged by requests per second of the server's
// processor time: that is the rate of a core that nobody else uses. redis is the address of a server for kinds that need one. The
// samples hold what a request took.
func underLoad(o options, redis string, kinds ...string) (all, bares []measure.Series, err error) {
	if _, err := exec.LookPath("wrk"); err != nil {
		return nil, nil, errNoWrk
	}
	start := func(kind, redis string) (*child.Process, error) {
		return child.Start("application", strconv.Itoa(o.heap)+" "+cmp.Or(redis, "-")+" "+kind, 0)
	}
	bare, err := start(sessions.Bare, "")
	if err != nil {
		return nil, nil, err
	}
	defer bare.Stop()
	servers := make([]*child.Process, len(kinds))
	all, bares = make([]measure.Series, len(kinds)), make([]measure.Series, len(kinds))
	for i, k := range kinds {
		if servers[i], err = start(k, redis); err != nil {
			return nil, nil, err
		}
		defer servers[i].Stop()
		all[i].Name, bares[i].Name = k, k
	}
	for range o.loadRounds {
		for i, s := range servers {
			a, err := wrk(bare, s.Report[1], o.loadTime)
			if err != nil {
				return nil, nil, err
			}
			b, err := wrk(s, s.Report[1], o.loadTime)
			if err != nil {
				return nil, nil, fmt.Errorf("%s: %w", kinds[i], err)
			}
			bares[i].Samples, all[i].Samples = append(bares[i].Samples, a), append(all[i].Samples, b)
		}
	}
	return all, bares, nil
}

// loadTable has for each kind its rate, its share of that of a bare handler (bare over ours, of what a request took), and
// what it adds.
func loadTable(all, bares []measure.Series) string {
	var out strings.Builder
	out.WriteString("| | requests/s | of bare | of bare, by CPU | minima | IQR | CPU µs/request | bare | added |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|\n")
	for i := range all {
		s, b := &all[i], &bares[i]
		rate, share := b.Over(s, measure.Wall), b.Over(s, measure.CPU)
		added := s.Less(b)
		fmt.Fprintf(&out, "| %s | %.0f | %s | %s | %s | %s | %s | %s | %s |\n", s.Name, 1e9/s.Median(measure.Wall), measure.Number(rate.Median), measure.Number(share.Median),
			measure.Number(share.Minima), measure.Number(share.IQR), measure.Number(s.Median(measure.CPU)/1e3), measure.Number(b.Median(measure.CPU)/1e3), measure.Number(added.Median(measure.CPU)/1e3))
	}
	return out.String()
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
