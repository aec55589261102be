package backing

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// clusterSlots is how many slots a Redis Cluster has.
const clusterSlots = 16384

// RedisCluster is a Redis Cluster of three masters with a replica each.
type RedisCluster struct{ nodes []*Redis }

// StartRedisCluster starts six servers with their data in folders of dir and returns when they are one cluster and all
// replicas are in step. A master is given up after a second and a half without an answer. The slots of the others are
// served meanwhile (cluster-require-full-coverage no). The error is ErrMissing if there is no redis-server.
func StartRedisCluster(ctx context.Context, dir string) (*RedisCluster, error) {
	c := &RedisCluster{}
	for i := range 6 {
		node, err := startRedis(ctx, filepath.Join(dir, fmt.Sprintf("node%d", i)), []string{
			"appendonly yes", "cluster-enabled yes", "cluster-config-file nodes.conf", "cluster-node-timeout 1500",
			"cluster-require-full-coverage no", "cluster-allow-replica-migration no", "cluster-replica-validity-factor 0",
			"repl-diskless-sync-delay 0", "repl-ping-replica-period 1",
		})
		if err != nil {
			c.Stop()
			return nil, err
		}
		c.nodes = append(c.nodes, node)
	}
	if err := c.form(ctx); err != nil {
		c.Stop()
		return nil, fmt.Errorf("backing: the cluster does not form: %w", err)
	}
	return c, nil
}

// form makes a cluster of the nodes: the first three are the masters.
func (c *RedisCluster) form(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var ids []string
	for i, node := range c.nodes {
		client := node.client()
		defer client.Close()
		if i < 3 {
			if err := client.ClusterAddSlotsRange(ctx, i*clusterSlots/3, (i+1)*clusterSlots/3-1).Err(); err != nil {
				return err
			}
		}
		if err := client.Do(ctx, "cluster", "set-config-epoch", i+1).Err(); err != nil {
			return err
		}
		id, err := client.Do(ctx, "cluster", "myid").Text()
		if err != nil {
			return err
		}
		ids = append(ids, id)
		if i > 0 {
			host, port, _ := net.SplitHostPort(c.nodes[0].Addr())
			if err := client.ClusterMeet(ctx, host, port).Err(); err != nil {
				return err
			}
		}
	}
	for i, node := range c.nodes {
		client := node.client()
		defer client.Close()
		err := until(ctx, func() bool {
			info, err := client.ClusterInfo(ctx).Result()
			return err == nil && strings.Contains(info, "cluster_known_nodes:6\r\n")
		})
		if err != nil {
			return err
		}
		if i < 3 {
			continue
		}
		// A replica takes no master of which it has only heard.
		if err := until(ctx, func() bool { return client.ClusterReplicate(ctx, ids[i-3]).Err() == nil }); err != nil {
			return err
		}
	}
	return c.Settled(ctx)
}

// Settled returns when all servers of the cluster run and agree that each slot has a master with a replica in step, or
// with an error when ctx is done.
func (c *RedisCluster) Settled(ctx context.Context) error {
	for _, node := range c.nodes {
		client := node.client()
		defer client.Close()
		err := until(ctx, func() bool {
			info, err := client.ClusterInfo(ctx).Result()
			if err != nil || !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_slots_ok:16384") {
				return false
			}
			shards, err := client.ClusterShards(ctx).Result()
			for _, shard := range shards {
				if len(shard.Slots) != 1 || len(shard.Nodes) != 2 || shardMaster(shard) == nil {
					return false
				}
			}
			return err == nil && len(shards) == 3 && inStep(ctx, client)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// shardMaster returns the shard's master that is up, or nil.
func shardMaster(shard redis.ClusterShard) *redis.Node {
	for i, node := range shard.Nodes {
		if node.Role == "master" && node.Health == "online" {
			return &shard.Nodes[i]
		}
	}
	return nil
}

// inStep reports whether a master has a replica that is online, or a replica the link to its master.
func inStep(ctx context.Context, client *redis.Client) bool {
	info, err := client.Info(ctx, "replication").Result()
	return err == nil && (strings.Contains(info, "state=online") || strings.Contains(info, "master_link_status:up"))
}

// Addrs returns the addresses of all servers.
func (c *RedisCluster) Addrs() []string {
	addrs := make([]string, len(c.nodes))
	for i, node := range c.nodes {
		addrs[i] = node.Addr()
	}
	return addrs
}

// URL names all servers, in the form that redisstore.Open takes.
func (c *RedisCluster) URL() string {
	return "redis+cluster://" + c.nodes[0].Addr() + "?" + url.Values{"addr": c.Addrs()[1:]}.Encode()
}

// Node returns the server with that address, or nil.
func (c *RedisCluster) Node(addr string) *Redis {
	for _, node := range c.nodes {
		if node.Addr() == addr {
			return node
		}
	}
	return nil
}

// Master returns the present master of the key's slot, as the first server that answers sees it.
func (c *RedisCluster) Master(ctx context.Context, key string) (*Redis, error) {
	for _, node := range c.nodes {
		client := node.client()
		defer client.Close()
		slot, err := client.ClusterKeySlot(ctx, key).Result()
		if err != nil {
			continue
		}
		shards, err := client.ClusterShards(ctx).Result()
		if err != nil {
			continue
		}
		for _, shard := range shards {
			for _, r := range shard.Slots {
				if master := shardMaster(shard); master != nil && r.Start <= slot && slot <= r.End {
					return c.Node(net.JoinHostPort(master.IP, strconv.FormatInt(master.Port, 10))), nil
				}
			}
		}
	}
	return nil, errors.New("backing: no server knows the slot's master")
}

// Stop ends all servers.
func (c *RedisCluster) Stop() {
	for _, node := range c.nodes {
		_ = node.Kill()
	}
}

// client returns a client for this server alone, which fails at once.
func (r *Redis) client() *redis.Client { return redis.NewClient(r.options()) }

func (r *Redis) options() *redis.Options {
	return &redis.Options{
		Addr: r.Addr(), MaxRetries: -1, DialerRetries: 1, DialTimeout: time.Second, ReadTimeout: time.Second,
		PoolSize: 1, DisableIdentity: true,
	}
}

// until calls f until it says yes or ctx is done, which is the error.
func until(ctx context.Context, f func() bool) error {
	for !f() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

// RedisSentinel is a master with a replica and three sentinels that watch them.
type RedisSentinel struct {
	Master, Replica *Redis // the roles at the start

	sentinels []*Redis
}

// StartRedisSentinel starts the five servers with their data in folders of dir and returns when the replica is in step
// and the sentinels know each other. They agree on a failover when the master has not answered for a second. The error is
// ErrMissing if there is no redis-server.
func StartRedisSentinel(ctx context.Context, dir string) (_ *RedisSentinel, err error) {
	s := &RedisSentinel{}
	defer func() {
		if err != nil {
			s.Stop()
		}
	}()
	if s.Master, err = StartRedis(ctx, filepath.Join(dir, "master"), "repl-diskless-sync-delay 0", "repl-ping-replica-period 1"); err != nil {
		return nil, err
	}
	port := strconv.Itoa(s.Master.server.port)
	s.Replica, err = StartRedis(ctx, filepath.Join(dir, "replica"), "repl-diskless-sync-delay 0", "replicaof 127.0.0.1 "+port)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	replica := s.Replica.client()
	defer replica.Close()
	if err := until(ctx, func() bool { return inStep(ctx, replica) }); err != nil {
		return nil, err
	}
	for i := range 3 {
		sentinel, err := startRedis(ctx, filepath.Join(dir, fmt.Sprintf("sentinel%d", i)), []string{
			"sentinel monitor " + s.Name() + " 127.0.0.1 " + port + " 2",
			"sentinel down-after-milliseconds " + s.Name() + " 1000",
			"sentinel failover-timeout " + s.Name() + " 3000",
		}, "--sentinel")
		if err != nil {
			return nil, err
		}
		s.sentinels = append(s.sentinels, sentinel)
	}
	for _, sentinel := range s.sentinels {
		client := redis.NewSentinelClient(sentinel.options())
		defer client.Close()
		err := until(ctx, func() bool {
			m, err := client.Master(ctx, s.Name()).Result()
			return err == nil && m["num-slaves"] == "1" && m["num-other-sentinels"] == "2"
		})
		if err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Name is what the sentinels call the master.
func (s *RedisSentinel) Name() string { return "sallyport" }

// Addrs returns the addresses of the sentinels.
func (s *RedisSentinel) Addrs() []string {
	addrs := make([]string, len(s.sentinels))
	for i, sentinel := range s.sentinels {
		addrs[i] = sentinel.Addr()
	}
	return addrs
}

// URL names the sentinels and the master, in the form that redisstore.Open takes.
func (s *RedisSentinel) URL() string {
	v := url.Values{"addr": s.Addrs()[1:], "master_name": {s.Name()}}
	return "redis+sentinel://" + s.Addrs()[0] + "/0?" + v.Encode()
}

// Stop ends all servers.
func (s *RedisSentinel) Stop() {
	for _, r := range append(s.sentinels, s.Master, s.Replica) {
		if r != nil {
			_ = r.Kill()
		}
	}
}
