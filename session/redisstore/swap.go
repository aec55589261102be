package redisstore

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/session"
)

// swapScript compares the version with ARGV[1], eight bytes or none, and writes ARGV[2] for ARGV[3] milliseconds. It
// returns the new version, 0 for another version, or -1 for a value that is not ours. Errors of the first write, such as OOM,
// are returned, not raised, so that every Redis passes them on as they are; after the first write Redis refuses no other.
// ARGV[2] has eight bytes in front for the version, which SETRANGE puts there: to join the two in the script costs
// three times as much, for it copies and hashes the value. What is replicated is the effect, as one transaction, and not
// the script, so a replica has the master's version and not one of its own clock.
const swapScript = `local held = redis.pcall('GETRANGE', KEYS[1], 0, 7)
if type(held) == 'table' then return held end
if held ~= ARGV[1] then
  if held == '' then return -redis.call('EXISTS', KEYS[1]) end
  if #held < 8 or string.byte(held) ~= 0 then return -1 end
  return 0
end
local now = redis.call('TIME')
local version = now[1] * 1000000 + now[2]
local set
if held == '' then
  set = redis.pcall('SET', KEYS[1], ARGV[2], 'PX', ARGV[3], 'NX')
  if not set then return -1 end
else
  local least = struct.unpack('>I8', held) + 1
  if version < least then version = least end
  set = redis.pcall('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
if set.err then return set end
redis.call('SETRANGE', KEYS[1], 0, struct.pack('>I8', version))
return version`

// swapDigest is the SHA-1 of swapScript, by which Redis knows it. It is a constant because SHA-1 is not there in programs
// that are restricted to FIPS 140.
const swapDigest = "f15f78a9eb93c6d71a45808505644f850fe82f10"

// swapCmd is an EVALSHA of swapScript, or an EVAL.
type swapCmd struct{ *redis.IntCmd }

// NoRetry keeps the client from sending it again when there is no answer.
func (swapCmd) NoRetry() bool { return true }

func newSwapCmd(ctx context.Context, args ...any) swapCmd {
	cmd := swapCmd{redis.NewIntCmd(ctx, args...)}
	cmd.SetFirstKeyPos(3)
	return cmd
}

// withScript is the same command for a server that does not have the script yet, or has lost it in a restart or a
// failover. It leaves the script there.
func (c swapCmd) withScript(ctx context.Context) swapCmd {
	return newSwapCmd(ctx, append([]any{"eval", swapScript}, c.Args()[2:]...)...)
}

// Swap writes value for ttl, or for a millisecond if that is more, if the stored version is old, or, if old is 0, if there
// is nothing at all under the key. Else it changes nothing and returns session.ErrConflict, or another error if what is
// there is not ours. It returns session.ErrFull if Redis has reached its maxmemory. After any other error the
// write may or may not have taken effect.
func (s *Store) Swap(ctx context.Context, key string, old int64, value []byte, ttl time.Duration) (int64, error) {
	var expected []byte
	if old != 0 {
		expected = binary.BigEndian.AppendUint64(nil, uint64(old))
	}
	c := s.newCall(ctx)
	// A call that is given up goes on, and value is the caller's, so it needs a copy, after room for the version.
	c.value = append(append(c.value[:0], make([]byte, headerSize)...), value...)
	c.cmd = newSwapCmd(ctx, "evalsha", swapDigest, 1, s.name(key), expected, c.value, milliseconds(ttl))
	cmd, err := c.run()
	if err != nil {
		if redis.HasErrorPrefix(err, "OOM") {
			return 0, session.ErrFull
		}
		return 0, failure(ctx, err)
	}
	switch version := cmd.(swapCmd).Val(); {
	case version > 0:
		return version, nil
	case version == 0:
		return 0, session.ErrConflict
	}
	return 0, errForeign
}

// milliseconds is what Redis takes as a time to live: more than nothing, and never less than asked for.
func milliseconds(ttl time.Duration) int64 {
	if ttl <= 0 {
		return 1
	}
	return int64((ttl-1)/time.Millisecond) + 1
}
