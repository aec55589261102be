package backing

import (
	"errors"
	"os"
	"testing"
)

// RedisForTest starts a server that ends with the test, with the settings of StartRedis. The test is skipped if there is
// no redis-server, or fails with SALLYPORT_REQUIRE_ALL=1.
func RedisForTest(t testing.TB, settings ...string) *Redis {
	t.Helper()
	r, err := StartRedis(t.Context(), t.TempDir(), settings...)
	redisStarted(t, err)
	t.Cleanup(r.Stop)
	return r
}

// RedisClusterForTest starts a cluster that ends with the test, and skips or fails it as RedisForTest does.
func RedisClusterForTest(t testing.TB) *RedisCluster {
	t.Helper()
	c, err := StartRedisCluster(t.Context(), t.TempDir())
	redisStarted(t, err)
	t.Cleanup(c.Stop)
	return c
}

// RedisSentinelForTest starts servers with sentinels that end with the test, and skips or fails it as RedisForTest does.
func RedisSentinelForTest(t testing.TB) *RedisSentinel {
	t.Helper()
	s, err := StartRedisSentinel(t.Context(), t.TempDir())
	redisStarted(t, err)
	t.Cleanup(s.Stop)
	return s
}

func redisStarted(t testing.TB, err error) {
	t.Helper()
	if errors.Is(err, ErrMissing) && os.Getenv("SALLYPORT_REQUIRE_ALL") != "1" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}
