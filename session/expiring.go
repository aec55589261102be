package session

import (
	"container/heap"
	"sync"
	"time"
)

// expiring is a bounded map whose entries end by themselves. What has ended goes when something
// is written; there is no goroutine to stop. Safe for concurrent use.
type expiring[K comparable, V any] struct {
	mu    sync.RWMutex
	items map[K]*expiringItem[K, V]
	order deadlines[K, V]
	max   int
}

type expiringItem[K comparable, V any] struct {
	key      K
	value    V
	deadline time.Time
	at       int // in the heap
}

func newExpiring[K comparable, V any](limit int) *expiring[K, V] {
	return &expiring[K, V]{items: map[K]*expiringItem[K, V]{}, max: limit}
}

func (e *expiring[K, V]) get(key K, now time.Time) (value V, ok bool) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	it, ok := e.items[key]
	if !ok || !now.Before(it.deadline) {
		return value, false
	}
	return it.value, true
}

// add inserts key unless it is there, and reports which. If there is no room it inserts nothing and full is true.
func (e *expiring[K, V]) add(key K, value V, now, deadline time.Time) (added, full bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sweep(now)
	if _, ok := e.items[key]; ok {
		return false, false
	}
	if len(e.items) >= e.max {
		return false, true
	}
	e.insert(key, value, deadline)
	return true, false
}

// update replaces the value of key by what change makes of it, until the deadline that change returns. If there
// is no room, what would end first makes it, and evicted is its key.
func (e *expiring[K, V]) update(key K, now time.Time, change func(old V, deadline time.Time) (V, time.Time)) (evicted *K) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sweep(now)
	if it, ok := e.items[key]; ok {
		it.value, it.deadline = change(it.value, it.deadline)
		heap.Fix(&e.order, it.at)
		return nil
	}
	var none V
	value, deadline := change(none, time.Time{})
	if !now.Before(deadline) {
		return nil
	}
	if len(e.items) >= e.max && len(e.order) > 0 {
		evicted = &e.order[0].key
		e.drop()
	}
	e.insert(key, value, deadline)
	return evicted
}

func (e *expiring[K, V]) insert(key K, value V, deadline time.Time) {
	it := &expiringItem[K, V]{key: key, value: value, deadline: deadline}
	e.items[key] = it
	heap.Push(&e.order, it)
}

func (e *expiring[K, V]) drop() {
	it := heap.Pop(&e.order).(*expiringItem[K, V])
	delete(e.items, it.key)
}

func (e *expiring[K, V]) sweep(now time.Time) {
	for len(e.order) > 0 && !now.Before(e.order[0].deadline) {
		e.drop()
	}
}

// deadlines is a heap, soonest first.
type deadlines[K comparable, V any] []*expiringItem[K, V]

func (d deadlines[K, V]) Len() int           { return len(d) }
func (d deadlines[K, V]) Less(i, j int) bool { return d[i].deadline.Before(d[j].deadline) }
func (d deadlines[K, V]) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].at, d[j].at = i, j
}

func (d *deadlines[K, V]) Push(x any) {
	it := x.(*expiringItem[K, V])
	it.at = len(*d)
	*d = append(*d, it)
}

func (d *deadlines[K, V]) Pop() any {
	last := len(*d) - 1
	it := (*d)[last]
	(*d)[last] = nil
	*d = (*d)[:last]
	return it
}
