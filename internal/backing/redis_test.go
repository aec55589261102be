package backing

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func TestRedisLifeCycle(t *testing.T) {
	r := RedisForTest(t, "appendfsync always")
	ctx := t.Context()
	client := redis.NewClient(&redis.Options{Addr: r.Addr(), MaxRetries: -1, DialerRetries: 1, ReadTimeout: 200 * time.Millisecond})
	defer client.Close()
	if err := client.Set(ctx, "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}

	if err := r.Pause(); err != nil {
		t.Fatal(err)
	}
	if err := client.Get(ctx, "k").Err(); err == nil {
		t.Error("a paused server answers")
	}
	if err := r.Resume(); err != nil {
		t.Fatal(err)
	}
	if got := client.Get(ctx, "k").Val(); got != "v" {
		t.Errorf("after the pause: %q", got)
	}

	addr := r.Addr()
	if err := r.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := client.Get(ctx, "k").Err(); err == nil {
		t.Error("a killed server answers")
	}
	if err := r.Pause(); err == nil {
		t.Error("a killed server can be paused")
	}
	if err := r.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	if r.Addr() != addr {
		t.Errorf("%s became %s", addr, r.Addr())
	}
	if got := client.Get(ctx, "k").Val(); got != "v" {
		t.Errorf("after the restart: %q", got)
	}
	r.Stop()
	if ping(ctx, addr) {
		t.Error("a stopped server answers")
	}
}

func TestRedisRefusesASetting(t *testing.T) {
	RedisForTest(t).Stop() // skips if there is none
	_, err := StartRedis(t.Context(), t.TempDir(), "no-such-setting 1")
	if err == nil || !strings.Contains(err.Error(), "no-such-setting") {
		t.Fatalf("%v does not name the setting", err)
	}
}

func TestRedisMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := StartRedis(t.Context(), t.TempDir()); !errors.Is(err, ErrMissing) {
		t.Errorf("one: %v", err)
	}
	if _, err := StartRedisCluster(t.Context(), t.TempDir()); !errors.Is(err, ErrMissing) {
		t.Errorf("cluster: %v", err)
	}
	if _, err := StartRedisSentinel(t.Context(), t.TempDir()); !errors.Is(err, ErrMissing) {
		t.Errorf("sentinel: %v", err)
	}
}

// The test runs itself as another process, which starts a server and is killed.
func TestRedisDoesNotSurviveItsStarter(t *testing.T) {
	if dir := os.Getenv("BACKING_REDIS_DIR"); dir != "" {
		r, err := StartRedis(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir+"/addr", []byte(r.Addr()), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(dir+"/addr", dir+"/ready"); err != nil {
			t.Fatal(err)
		}
		select {}
	}
	RedisForTest(t).Stop() // skips if there is none
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestRedisDoesNotSurviveItsStarter$")
	cmd.Env = append(os.Environ(), "BACKING_REDIS_DIR="+dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var addr []byte
	err := until(ctx, func() (there bool) {
		var err error
		addr, err = os.ReadFile(dir + "/ready")
		return err == nil
	})
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if err := until(ctx, func() bool { return !ping(ctx, string(addr)) }); err != nil {
		t.Errorf("the server at %s lives on", addr)
	}
}
