package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"
)

const (
	drainTime  = 20 * time.Second
	finishTime = 10 * time.Second
)

// serve answers requests until ctx ends, and then those that it has begun; after
// them finish ends what goes on in the background. A refresh that is cut off is a
// refresh token spent for nothing.
func serve(ctx context.Context, l net.Listener, h http.Handler, finish func(context.Context) error) error {
	server := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, MaxHeaderBytes: 64 << 10}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	within := func(d time.Duration, f func(context.Context) error) error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), d)
		defer cancel()
		return f(ctx)
	}
	drained := within(drainTime, server.Shutdown)
	return errors.Join(drained, within(finishTime, finish))
}
