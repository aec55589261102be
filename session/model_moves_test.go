package session

import (
	"fmt"
	"slices"
	"testing/synctest"
	"time"
)

// moves is what can happen now. What passes between moves of others, and is nobody's choice, is not among it.
func (w *world) moves() (all []move) {
	w.mu.Lock()
	parked := slices.Clone(w.parked)
	w.mu.Unlock()
	var busy [2]bool // a call of the store is under way
	at := false      // one of the server is
	active := [2]bool{}
	for _, o := range parked {
		n := o.who.at.n
		busy[n] = busy[n] || o.store()
		at = at || o.kind >= opArrive
		active[n] = active[n] || o.kind != opStart
	}
	s := w.s
	trouble := w.troubles < s.troubles
	for _, o := range parked {
		m := move{name: o.String(), replica: o.who.at.n, group: o.who.group, rank: [2]int{0, 1 + o.who.n}}
		if o.who == w.last {
			m.rank[1] = 0
		}
		if o.call != nil {
			m.grant = o.call.grant.subject
		}
		if o.store() {
			m.key, m.write = o.key, o.kind == opSwap
		}
		add := func(m move, suffix string, g granted) {
			m.name += suffix
			if g != grantDo {
				m.trouble, m.rank[0] = true, 3
			}
			m.do = func() {
				w.last = o.who
				if g != grantDo {
					w.troubles++
				}
				w.release(o, g)
			}
			all = append(all, m)
		}
		add(m, "", grantDo)
		if trouble && s.storeErr && o.store() {
			add(m, ", and fails", grantFail)
			if o.kind == opSwap {
				add(m, ", takes effect, and fails", grantFailAfter)
			}
		}
		switch {
		case !trouble || !s.fault:
		case o.kind == opArrive:
			add(m, ": 503", grantBusy)
		case o.kind == opAnswer:
			add(m, ", and the answer is lost", grantLost)
		}
	}
	for n, r := range w.replicas {
		if trouble && s.crash && active[n] && !r.dead {
			all = append(all, move{name: fmt.Sprintf("process %d crashes", n), replica: n, group: everyone, trouble: true, rank: [2]int{4, n}, do: func() { w.crash(r) }})
		}
		if trouble && s.apart && active[n] && !r.dead && !busy[1-n] {
			all = append(all, move{name: fmt.Sprintf("process %d does not reach the store", n), replica: everyone, trouble: true, rank: [2]int{5, n}, do: func() { w.part(r) }})
		}
	}
	if w.slows < s.slows && at && !busy[0] && !busy[1] {
		all = append(all, move{name: "the server is slow", replica: everyone, rank: [2]int{1, 0}, do: func() {
			w.slows++
			w.beats(s.long)
			w.pass(leaseTime + time.Second)
			w.beats(false)
		}})
	}
	for _, a := range w.actors {
		if s.cancel && a.begun && !a.done && !a.canceled && !a.at.dead {
			all = append(all, move{name: a.name + " goes away", replica: a.at.n, group: a.group, rank: [2]int{2, a.n}, do: func() {
				a.canceled = true
				a.cancel()
				synctest.Wait()
			}})
		}
	}
	return all
}

// crash stops a process: what it was about to do never happens. That something has happened and it does not know is
// the crash one move later.
func (w *world) crash(r *replica) {
	w.troubles++
	w.mu.Lock()
	defer w.mu.Unlock()
	r.dead = true
	for _, o := range w.parked {
		if o.who.at == r {
			w.buried = append(w.buried, o)
		}
	}
	w.parked = slices.DeleteFunc(w.parked, func(o *op) bool { return o.who.at == r })
	for _, c := range w.server.calls {
		c.orphan = c.orphan || c.who.at == r && !c.settled
	}
}

// part keeps a process from the store, until another process moves.
func (w *world) part(r *replica) {
	w.troubles++
	w.mu.Lock()
	r.apart = true
	parked := slices.Clone(w.parked)
	w.mu.Unlock()
	for _, c := range w.server.calls {
		c.overtaken = c.overtaken || c.who.at == r && !c.settled
	}
	// It takes a moment to fail, so that what is tried again is not due at the very moment when a lease is to be renewed: which
	// is first would be chance.
	time.Sleep(10 * time.Millisecond)
	for _, o := range parked {
		if o.who.at == r && o.store() {
			w.release(o, grantFail)
		}
	}
	w.pass(leaseTime + 2*time.Second + 100*time.Millisecond)
	w.mu.Lock()
	r.apart = false
	w.mu.Unlock()
}

// beats says whether leases are renewed as time passes, or each renewal is a step of its own.
func (w *world) beats(freely bool) {
	w.mu.Lock()
	w.renews = freely
	w.mu.Unlock()
}

// release lets an op go on, and waits until all is quiet.
func (w *world) release(o *op, g granted) {
	w.mu.Lock()
	w.parked = slices.DeleteFunc(w.parked, func(p *op) bool { return p == o })
	w.mu.Unlock()
	if o.kind == opStart {
		o.who.begun = true
	}
	o.turn <- g
	synctest.Wait()
}

// pass lets time pass until something parks, at most d.
func (w *world) pass(d time.Duration) {
	select {
	case <-w.news:
	default:
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-w.news:
	case <-timer.C:
	}
	synctest.Wait()
}
