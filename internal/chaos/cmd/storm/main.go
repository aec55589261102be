//go:build unix

// Command storm prints what a refresh storm costs, beside the server's call alone and what golang.org/x/oauth2 does.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/backing"
	"github.com/sallyport/sallyport/internal/chaos"
)

func main() {
	if chaos.Main() {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "storm:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	requests := flag.Int("requests", 64, "requests of a burst, over all processes")
	bursts := flag.Int("bursts", 60, "bursts of each kind")
	latency := flag.Duration("latency", 20*time.Millisecond, "the authorization server's")
	flag.Parse()
	dir, err := os.MkdirTemp("", "storm")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for _, name := range []string{"/redis", "/pg"} {
		if err := os.Mkdir(dir+name, 0o755); err != nil {
			return err
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil { // PostgreSQL runs as another user
		return err
	}
	redis, err := backing.StartRedis(ctx, dir+"/redis")
	if err != nil {
		return err
	}
	defer redis.Stop()
	postgresURL := ""
	postgres, err := backing.StartPostgres(ctx, dir+"/pg")
	if errors.Is(err, backing.ErrMissing) {
		fmt.Println("without PostgreSQL, which is not installed")
	} else if err != nil {
		return err
	} else {
		defer postgres.Stop()
		postgresURL = postgres.URL()
	}
	storms := chaos.Storms(redis.URL(), postgresURL)
	for i := range storms {
		s := &storms[i]
		s.Requests, s.Bursts, s.Latency = *requests, *bursts, *latency
	}
	if err := chaos.Report(ctx, os.Stdout, storms); err != nil {
		return err
	}
	for _, url := range []string{redis.URL(), postgresURL} {
		if url == "" {
			continue
		}
		p50, p99, err := chaos.SwapTime(ctx, url)
		if err != nil {
			return err
		}
		scheme, _, _ := strings.Cut(url, ":")
		fmt.Printf("one write of %s, of which a refresh needs two: p50 %v, p99 %v\n", scheme, p50.Round(10*time.Microsecond), p99.Round(10*time.Microsecond))
	}
	return nil
}
