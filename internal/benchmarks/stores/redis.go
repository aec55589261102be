// Package stores starts the servers that sessions are kept in and asks them what they did: commands, processor time,
// memory.
package stores

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/backing"
)

// Redis is a private redis-server.
type Redis struct {
	*backing.Redis

	dir   string
	admin *redis.Client
}

// StartRedis starts one that keeps nothing on the disk, unless a setting (a line of redis.conf) says otherwise. The error is
// backing.ErrMissing if there is no redis-server.
func StartRedis(settings ...string) (*Redis, error) {
	dir, err := os.MkdirTemp("", "redis")
	if err != nil {
		return nil, err
	}
	server, err := backing.StartRedis(context.Background(), dir, append([]string{"appendonly no"}, settings...)...)
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	admin := redis.NewClient(&redis.Options{Addr: server.Addr(), PoolSize: 1, DisableIdentity: true})
	return &Redis{server, dir, admin}, nil
}

// Stop ends the server and deletes its data.
func (r *Redis) Stop() {
	_ = r.admin.Close()
	r.Redis.Stop()
	_ = os.RemoveAll(r.dir)
}

// info returns a section of INFO.
func (r *Redis) info(section string) (map[string]string, error) {
	text, err := r.admin.Info(context.Background(), section).Result()
	if err != nil {
		return nil, err
	}
	fields := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			fields[name] = value
		}
	}
	return fields, nil
}

// CPU is the processor time that the server has used, that of our own questions included.
func (r *Redis) CPU() (time.Duration, error) {
	fields, err := r.info("cpu")
	if err != nil {
		return 0, err
	}
	sum := 0.0
	for _, name := range []string{"used_cpu_user", "used_cpu_sys"} {
		seconds, err := strconv.ParseFloat(fields[name], 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", name, err)
		}
		sum += seconds
	}
	return time.Duration(sum * float64(time.Second)), nil
}

// Memory is what the server uses for its data, in bytes, and the number of its keys.
type Memory struct {
	Used     int64 // by the allocator's account, without what an empty server uses
	Resident int64 // of the process, all included
	Keys     int64
}

// Memory returns what the server uses now.
func (r *Redis) Memory() (m Memory, err error) {
	fields, err := r.info("memory")
	if err != nil {
		return m, err
	}
	if m.Keys, err = r.admin.DBSize(context.Background()).Result(); err != nil {
		return m, err
	}
	startup, err1 := strconv.ParseInt(fields["used_memory_startup"], 10, 64)
	used, err2 := strconv.ParseInt(fields["used_memory"], 10, 64)
	clients, err3 := strconv.ParseInt(fields["mem_clients_normal"], 10, 64)
	m.Resident, err = strconv.ParseInt(fields["used_memory_rss"], 10, 64)
	m.Used = used - startup - clients
	for _, e := range []error{err1, err2, err3} {
		if e != nil {
			err = e
		}
	}
	return m, err
}

// Commands are how often a server has executed each.
type Commands map[string]int64

// Commands returns those since the server's start.
func (r *Redis) Commands() (Commands, error) {
	fields, err := r.info("commandstats")
	if err != nil {
		return nil, err
	}
	c := Commands{}
	for name, value := range fields {
		calls, _, _ := strings.Cut(strings.TrimPrefix(value, "calls="), ",")
		if c[strings.TrimPrefix(name, "cmdstat_")], err = strconv.ParseInt(calls, 10, 64); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// others are the commands that only the script of redisstore.Swap calls, and those of connections and of ourselves.
var others = map[string]bool{
	"exists": true, "time": true, "set": true, "setrange": true,
	"info": true, "dbsize": true, "scan": true, "strlen": true, "memory|usage": true, "ping": true, "hello": true, "client|setinfo": true, "client|maint_notifications": true,
}

// Since returns the commands that redisstore has sent since before was asked: each is a round trip. What its script
// executes is not among them.
func (c Commands) Since(before Commands) Commands {
	sent := Commands{}
	for name, n := range c {
		if d := n - before[name]; d != 0 && !others[name] {
			sent[name] = d
		}
	}
	// Each run of the script begins with one of these.
	if sent["getrange"] -= sent["evalsha"] + sent["eval"]; sent["getrange"] == 0 {
		delete(sent, "getrange")
	}
	return sent
}

// Trips is the number of all commands.
func (c Commands) Trips() (n int64) {
	for _, calls := range c {
		n += calls
	}
	return n
}

// Written is the number of writes that the script has done since before was asked.
func (c Commands) Written(before Commands) int64 { return c["set"] - before["set"] }
