package backing

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Redis is a private redis-server on the loopback interface. Its methods may be called concurrently.
type Redis struct{ server redisProcess }

// StartRedis starts the redis-server of the PATH with its data in dir, which is made if it is not there, on a free port
// of 127.0.0.1, and returns when it answers. It keeps an append-only file, written once a second. Each setting is one
// line of redis.conf and overrides that, such as "appendfsync always" or "maxmemory 8mb". The error is ErrMissing if
// there is no redis-server. On Linux the server ends when this process does.
func StartRedis(ctx context.Context, dir string, settings ...string) (*Redis, error) {
	return startRedis(ctx, dir, append([]string{"appendonly yes"}, settings...))
}

func startRedis(ctx context.Context, dir string, settings []string, flags ...string) (*Redis, error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, fmt.Errorf("%w: redis-server", ErrMissing)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	// Another process may take the port before the server does.
	for attempt := 1; ; attempt++ {
		port, err := freeRedisPort()
		if err != nil {
			return nil, err
		}
		lines := append([]string{
			"bind 127.0.0.1", fmt.Sprintf("port %d", port), "protected-mode no", "save \"\"", "daemonize no", "dir .",
		}, settings...)
		file := filepath.Join(dir, "redis.conf")
		if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
			return nil, err
		}
		r := &Redis{redisProcess{program: program, dir: dir, port: port, args: append([]string{"redis.conf"}, flags...)}}
		err = r.server.start(ctx)
		if err == nil {
			return r, nil
		}
		if attempt == 3 || ctx.Err() != nil {
			return nil, err
		}
	}
}

// Addr returns the address, host and port.
func (r *Redis) Addr() string { return r.server.addr() }

// URL returns the URL of database 0.
func (r *Redis) URL() string { return "redis://" + r.Addr() + "/0" }

// Pause stops the server in its tracks: its connections stay, and nothing answers on them.
func (r *Redis) Pause() error { return r.server.with(redisPause) }

// Resume lets a paused server go on.
func (r *Redis) Resume() error { return r.server.with(redisResume) }

// Kill ends the server without a chance to write anything, as kill -9 does.
func (r *Redis) Kill() error { return r.server.kill() }

// Restart starts the server again, on the same port with the data in its folder, and returns when it answers. One that
// still runs is stopped first.
func (r *Redis) Restart(ctx context.Context) error {
	r.server.stop()
	return r.server.start(ctx)
}

// Stop ends the server if it runs, within seconds. The data stay in the folder.
func (r *Redis) Stop() { r.server.stop() }
