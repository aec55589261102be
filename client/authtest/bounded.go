package authtest

// bounded is a map that forgets its oldest entry when it is full. It is not
// safe for concurrent use.
type bounded[K comparable, V any] struct {
	entries map[K]V
	order   []K // a ring once it is full
	next    int
	limit   int
}

func newBounded[K comparable, V any](limit int) bounded[K, V] {
	return bounded[K, V]{entries: make(map[K]V), limit: limit}
}

func (b *bounded[K, V]) get(key K) (V, bool) {
	v, ok := b.entries[key]
	return v, ok
}

// add stores a value under a key that was never used before.
func (b *bounded[K, V]) add(key K, value V) {
	if len(b.order) < b.limit {
		b.order = append(b.order, key)
	} else {
		delete(b.entries, b.order[b.next])
		b.order[b.next] = key
		b.next = (b.next + 1) % b.limit
	}
	b.entries[key] = value
}

// remove forgets a value; its place in the ring stays taken until its turn.
func (b *bounded[K, V]) remove(key K) { delete(b.entries, key) }
