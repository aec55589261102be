//go:build unix

package chaos

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/sallyport/sallyport/internal/backing"
)

// backend is a store's server.
type backend interface {
	URL() string
	Pause() error
	Resume() error
	Kill() error
	Restart(context.Context) error
	Stop()
}

func startBackend(ctx context.Context, cfg Config, dir string) (backend, error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	if cfg.Store == "postgres" {
		return backing.StartPostgres(ctx, dir)
	}
	if !cfg.PowerLoss {
		// A crash loses nothing that was acknowledged.
		return backing.StartRedis(ctx, dir, "appendfsync always")
	}
	r, err := backing.StartRedis(ctx, dir, "appendfsync everysec", "aof-timestamp-enabled yes", "aof-use-rdb-preamble no")
	return &forgetful{r, dir}, err
}

// forgetful is a Redis whose crashes are those of its machine: with appendfsync everysec, the writes of the last second
// had not reached the disk.
type forgetful struct {
	*backing.Redis
	dir string
}

func (f *forgetful) Kill() error {
	if err := f.Redis.Kill(); err != nil {
		return err
	}
	until := strconv.FormatInt(time.Now().Unix()-1, 10)
	manifest := filepath.Join(f.dir, "appendonlydir", "appendonly.aof.manifest")
	out, err := exec.Command("redis-check-aof", "--truncate-to-timestamp", until, manifest).CombinedOutput()
	if err != nil {
		return errors.New("chaos: redis-check-aof: " + string(out[max(0, len(out)-300):]))
	}
	return nil
}

// disturbProcesses kills one after the other, and starts it again at once.
func (r *run) disturbProcesses(ctx context.Context) {
	for sleep(ctx, r.cfg.KillEvery) {
		m := r.processes[int(r.chance()*float64(len(r.processes)))]
		m.process.kill()
		r.mu.Lock()
		r.killed[runName(m.assignment.Process, m.process.pid)] = time.Now()
		r.mu.Unlock()
		r.counts.kills.Add(1)
		p, err := start(m.assignment)
		if err != nil {
			r.fail(err)
			return
		}
		m.process = p
	}
}

// disturbStore crashes the store and pauses it, in turn. Between two disturbances a dead process's lease can be taken over, which takes
// somebody who lives for lease time and can read it all the while; in a short run they are denser, to be there at all.
func (r *run) disturbStore(ctx context.Context) {
	for i := 0; r.sleepAbout(ctx, min(r.cfg.Duration/8, 8*time.Second)); i++ {
		from := time.Now()
		var err error
		if i%2 == 1 {
			r.counts.pauses.Add(1)
			err = r.store.Pause()
			sleep(ctx, time.Second+time.Duration(r.chance()*3000)*time.Millisecond)
			err = errors.Join(err, r.store.Resume())
		} else {
			r.counts.restarts.Add(1)
			if err = r.store.Kill(); err == nil {
				err = r.store.Restart(context.WithoutCancel(ctx))
			}
		}
		r.mu.Lock()
		r.blackouts = append(r.blackouts, blackout{from, time.Now()})
		r.mu.Unlock()
		if err != nil {
			r.fail(err)
			return
		}
	}
}

func (r *run) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.processErr = errors.Join(r.processErr, err)
}
