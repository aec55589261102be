package stores

import (
	"context"
	"strings"
)

// Kind is what the keys of one kind take in a Redis, per key.
type Kind struct {
	Keys  int64
	Value float64 // bytes, the version included
	Whole float64 // bytes with the key, the expiry and what Redis adds, as MEMORY USAGE says
}

// sampled is how many keys of each kind are looked at.
const sampled = 500

// Kinds returns what there is of each kind of key: the letter after the prefix of redisstore.
func (r *Redis) Kinds() (map[byte]Kind, error) {
	ctx := context.Background()
	kinds, seen := map[byte]Kind{}, map[byte]int64{}
	for cursor := uint64(0); ; {
		keys, next, err := r.admin.Scan(ctx, cursor, "", 1000).Result()
		if err != nil {
			return nil, err
		}
		for _, key := range keys {
			_, name, ok := strings.Cut(key, "{")
			if !ok || name == "" {
				continue
			}
			k := kinds[name[0]]
			if k.Keys++; seen[name[0]] < sampled {
				seen[name[0]]++
				length, err := r.admin.StrLen(ctx, key).Result()
				if err != nil {
					return nil, err
				}
				whole, err := r.admin.MemoryUsage(ctx, key).Result()
				if err != nil {
					return nil, err
				}
				k.Value, k.Whole = k.Value+float64(length), k.Whole+float64(whole)
			}
			kinds[name[0]] = k
		}
		if cursor = next; cursor == 0 {
			break
		}
	}
	for kind, k := range kinds {
		k.Value, k.Whole = k.Value/float64(seen[kind]), k.Whole/float64(seen[kind])
		kinds[kind] = k
	}
	return kinds, nil
}
