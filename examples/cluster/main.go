// Cluster shows what happens to sessions when an application runs in several processes, and what does not: three replicas of
// examples/webapp behind a round-robin proxy share one Redis, users log in and call an API through them, and their access
// tokens expire every few seconds. The authorization server is strict: a refresh token that is used twice revokes its
// whole family.
//
//	go run ./examples/cluster            # needs redis-server on PATH
//	go run ./examples/cluster -chaos     # replicas are killed (kill -9) and started again
//
// Flags choose PostgreSQL, sessions in cookies with the store as coordination only, how many users, for how long: see -help.
// Open the printed address to take part with a browser of your own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// options are what the flags say.
type options struct {
	listen    string
	replicas  int
	users     int
	store     string // redis or postgres
	placement string // store or cookie
	lifetime  time.Duration
	grace     time.Duration
	pause     time.Duration // between two pages of one user
	parallel  int           // API calls that a page makes at once
	chaos     bool
	every     time.Duration // between two kills
	duration  time.Duration // 0: until interrupted
}

func readFlags(args []string, out io.Writer) (options, error) {
	o := options{}
	f := flag.NewFlagSet("cluster", flag.ContinueOnError)
	f.SetOutput(out)
	f.StringVar(&o.listen, "listen", "127.0.0.1:8090", "address of the proxy")
	f.IntVar(&o.replicas, "replicas", 3, "processes of the application")
	f.IntVar(&o.users, "users", 100, "users who log in and call the API")
	f.StringVar(&o.store, "store", "redis", "what the replicas share: redis or postgres, started for this run")
	f.StringVar(&o.placement, "placement", "store", "where the sessions live: store, or cookie (the store then only coordinates)")
	f.DurationVar(&o.lifetime, "token-lifetime", 10*time.Second, "life of an access token, in whole seconds")
	f.DurationVar(&o.grace, "grace", 0, "for how long the server takes a rotated refresh token once more (0: it revokes the family)")
	f.DurationVar(&o.pause, "pause", time.Second, "how long a user waits between two pages, on average")
	f.IntVar(&o.parallel, "parallel", 4, "API calls that a page makes at once, each through another replica")
	f.BoolVar(&o.chaos, "chaos", false, "kill a replica every now and then, and start it again")
	f.DurationVar(&o.every, "chaos-every", 3*time.Second, "how often")
	f.DurationVar(&o.duration, "duration", 0, "when to stop (0: when interrupted)")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	switch {
	case f.NArg() > 0:
		return o, errors.New("there are no arguments, only flags")
	case o.replicas < 1 || o.replicas > 16:
		return o, errors.New("-replicas: between 1 and 16")
	case o.users < 1 || o.users > 10_000:
		return o, errors.New("-users: between 1 and 10000")
	case o.parallel < 1 || o.parallel > 64:
		return o, errors.New("-parallel: between 1 and 64")
	case o.store != "redis" && o.store != "postgres":
		return o, errors.New("-store: redis or postgres")
	case o.placement != "store" && o.placement != "cookie":
		return o, errors.New("-placement: store or cookie")
	case o.lifetime < time.Second, o.lifetime%time.Second != 0:
		return o, errors.New("-token-lifetime: at least one second, in whole seconds")
	case o.grace < 0, o.pause <= 0, o.every <= 0, o.duration < 0:
		return o, errors.New("a time is negative, or nothing at all")
	}
	return o, nil
}

func main() {
	o, err := readFlags(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		err = run(ctx, o, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

// run starts everything, lets it run, and returns an error if a session was lost for which there is no excuse.
func run(ctx context.Context, o options, out io.Writer) error {
	dir, err := os.MkdirTemp("", "cluster")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o711); err != nil { // PostgreSQL runs as another user than root
		return err
	}
	c := &cluster{options: o, out: out, dir: dir}
	defer c.stop()
	if err := c.start(ctx); err != nil {
		return err
	}
	if o.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.duration)
		defer cancel()
	}
	return c.watch(ctx)
}
