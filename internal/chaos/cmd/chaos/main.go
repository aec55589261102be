//go:build unix

// Command chaos disturbs processes, their store and their authorization server, and says what became of the sessions. It fails if
// one was lost that should not have been.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/sallyport/sallyport/internal/chaos"
)

func main() {
	if chaos.Main() {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	cfg := chaos.Config{Progress: os.Stdout}
	flag.StringVar(&cfg.Store, "store", "redis", "redis or postgres")
	placement := flag.String("placement", "store", "where sessions live: store or cookie; with cookie, the store coordinates")
	flag.IntVar(&cfg.Processes, "processes", 4, "of the application")
	flag.IntVar(&cfg.Sessions, "sessions", 2000, "each of a user and a browser of its own")
	flag.DurationVar(&cfg.Lifetime, "lifetime", 3*time.Second, "of an access token")
	flag.DurationVar(&cfg.Grace, "grace", time.Minute, "of the authorization server; 0: a refresh token that comes back ends its family at once")
	flag.DurationVar(&cfg.Pace, "pace", 2*time.Second, "mean time between two requests of one browser")
	flag.DurationVar(&cfg.Duration, "duration", 10*time.Minute, "of the disturbances")
	flag.DurationVar(&cfg.KillEvery, "kill", 2*time.Second, "kill -9 a process so often")
	flag.Uint64Var(&cfg.Seed, "seed", uint64(time.Now().UnixNano()), "of the disturbances")
	flag.BoolVar(&cfg.PowerLoss, "power-loss", false, "Redis has appendfsync everysec, and its crashes lose the last second")
	keep := flag.Bool("keep", false, "keep the logs")
	flag.Parse()
	if *placement != "store" && *placement != "cookie" {
		return fmt.Errorf("the placement is store or cookie")
	}
	cfg.Cookie = *placement == "cookie"
	dir, err := os.MkdirTemp("", "chaos")
	if err != nil {
		return err
	}
	if *keep {
		fmt.Println("logs:", dir)
	} else {
		defer os.RemoveAll(dir)
	}
	if err := os.Chmod(dir, 0o755); err != nil { // PostgreSQL runs as another user
		return err
	}
	cfg.Dir = dir
	if err := cfg.Check(); err != nil {
		return err
	}
	account, err := chaos.Run(ctx, cfg)
	if err != nil {
		return err
	}
	account.Print(os.Stdout)
	if n := len(account.Failures()); n > 0 {
		return fmt.Errorf("%d failures", n)
	}
	fmt.Println("  passed")
	return nil
}
