package session

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/client"
)

// A server that ends a session says whose it is, not which of ours: by its own id ("sid") or by the subject. A roster is what a
// store has under such a name: the sessions, if the store is shared by processes, and when the last logout arrived. In one process
// there is no need for the sessions: each request compares with the moment of the logout, which costs
// one atomic load as long as there was none. With a store, a logout ends each session of the roster itself.

const (
	// rosterShards is in how many records the sessions of one subject are, so that many logins of one do not wait for each other.
	rosterShards = 8
	// maxMembers bounds the sessions in one record, at about 45 bytes each. With more, the one that would end first is ended.
	maxMembers = 1024
	// afterwards is how long after a logout a session may still be written whose tokens were asked for before it.
	afterwards = time.Minute
	// epochAge is how old the knowledge may be whether every session was ended.
	epochAge = 5 * time.Second
	// maxReason bounds the reason of an end.
	maxReason = 64
)

type roster struct {
	all     int64 // when the last logout of everybody in it arrived, milliseconds since 1970
	alone   int64 // the same, of those sessions that have no sid
	keep    int64 // until then, seconds since 1970
	reason  string
	members []member
}

// member is a session in a roster.
type member struct {
	hash     [sha256.Size]byte // of the id
	obtained int64             // as in the record
	absolute int64             // its deadline, seconds since 1970
	sid      bool              // it has one
	ended    bool              // a logout has named it, and may have ended it already
}

// struck reports whether a logout of the roster has ended such a session.
func (l *roster) struck(obtained int64, sid bool) bool {
	return obtained <= l.all || !sid && obtained <= l.alone
}

// name marks whom a logout concerns, and returns them: who is in the roster when the logout is first written there, whatever the clocks
// of processes say, and when it is written again, the same. If a logout is repeated that came to nothing, logins since then are
// told by the moment.
func (l *roster) name(arrived int64, alone, repeated bool, now time.Time) (concerned []member) {
	mark := &l.all
	if alone {
		mark = &l.alone
	}
	again := *mark == arrived
	*mark = max(*mark, arrived)
	for i := range l.members {
		s := &l.members[i]
		if !again && !(alone && s.sid) && !(repeated && s.obtained > arrived) {
			s.ended = true
		}
		if s.ended && s.absolute > now.Unix() {
			concerned = append(concerned, *s)
		}
	}
	return concerned
}

const (
	rosterVersion = 1
	// The flags of a member.
	memberSID   = 1
	memberEnded = 2
)

// AppendBinary writes the roster.
func (l *roster) AppendBinary(b []byte) ([]byte, error) {
	b = append(b, rosterVersion)
	for _, n := range [...]uint64{uint64(l.all), uint64(l.alone), uint64(l.keep), uint64(len(l.members))} {
		b = binary.AppendUvarint(b, n)
	}
	b = appendString(b, l.reason)
	for _, s := range l.members {
		flags := byte(0)
		if s.sid {
			flags |= memberSID
		}
		if s.ended {
			flags |= memberEnded
		}
		b = append(append(b, s.hash[:]...), flags)
		b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(s.obtained)), uint64(s.absolute))
	}
	return b, nil
}

// UnmarshalBinary reads what AppendBinary wrote.
func (l *roster) UnmarshalBinary(b []byte) error {
	if len(b) < 1 || b[0] != rosterVersion {
		return errRecord
	}
	d := decoder{b: b[1:], text: make([]byte, 0, maxReason)}
	*l = roster{all: d.int64(), alone: d.int64(), keep: d.int64()}
	n := d.uvarint()
	l.reason = d.string()
	if n > maxMembers {
		return errRecord
	}
	l.members = make([]member, 0, n)
	for range n {
		var s member
		if len(d.b) < len(s.hash)+1 || d.b[len(s.hash)] > memberSID|memberEnded {
			return errRecord
		}
		d.b = d.b[copy(s.hash[:], d.b):]
		s.sid, s.ended, d.b = d.b[0]&memberSID != 0, d.b[0]&memberEnded != 0, d.b[1:]
		s.obtained, s.absolute = d.int64(), d.int64()
		l.members = append(l.members, s)
	}
	if d.failed || len(d.b) != 0 {
		return errRecord
	}
	return nil
}

// What a roster is of, at an issuer.
const (
	bySID     = "sid"
	bySubject = "sub"
	byToken   = "jti"
	everybody = "every"
)

// names returns the keys of what is named by texts: one for each key of the ring, as subjects can be guessed and their hashes must
// not be; who has only the older keys finds it as well. In this process's memory a hash will do.
func (m *Manager) names(kind byte, texts ...string) []storeKey {
	if !m.shared.inShare {
		return []storeKey{nameHere(kind, texts...)}
	}
	keys := make([]storeKey, 0, len(m.shared.naming))
	for _, secret := range m.shared.naming {
		h := hmac.New(sha256.New, secret)
		for _, t := range texts {
			h.Write(appendString(nil, t))
		}
		keys = append(keys, newStoreKey(kind, h.Sum(nil)))
	}
	return keys
}

// nameHere allocates nothing.
func nameHere(kind byte, texts ...string) storeKey {
	var buf [512]byte
	b := buf[:0]
	for _, t := range texts {
		b = appendString(b, t)
	}
	sum := sha256.Sum256(b)
	return newStoreKey(kind, sum[:])
}

// subjectRosters returns the keys of one shard of a subject's rosters; without shards, all there is.
func (m *Manager) subjectRosters(issuer, subject string, shard int) []storeKey {
	return m.names(keyRoster, bySubject, issuer, subject, itoa(shard))
}

func (m *Manager) shards() int {
	if m.shared.inShare {
		return rosterShards
	}
	return 1
}

// rostersOf returns the keys of the rosters that a session is in.
func (m *Manager) rostersOf(rec *record) (keys []storeKey) {
	if rec.sid != "" {
		keys = m.names(keyRoster, bySID, rec.issuer, rec.sid)
	}
	hash := sha256.Sum256(rec.id[:])
	return append(keys, m.subjectRosters(rec.issuer, rec.subject, int(hash[0])%m.shards())...)
}

// enrol enters a session that is about to be made, or may be missing, so that logouts find it. Failure: ErrSessionEnded if one was faster
// (ATK-O19); ErrStore.
func (m *Manager) enrol(ctx context.Context, rec *record, now time.Time) error {
	switch reason, err := m.struck(ctx, rec); {
	case err != nil:
		return err
	case reason != "":
		return fail(ErrSessionEnded, reason)
	case !m.shared.inShare:
		return nil
	}
	absolute := rec.absoluteDeadline(&m.shared.cfg).Unix()
	me := member{hash: sha256.Sum256(rec.id[:]), obtained: rec.obtained, absolute: absolute, sid: rec.sid != ""}
	for _, key := range m.rostersOf(rec) {
		struck := ""
		var surplus *member
		_, err := update(ctx, m.shared.rosters, &key, nil, func(l *roster, _ int64) (time.Time, error) {
			struck, surplus = "", nil
			i := slices.IndexFunc(l.members, func(s member) bool { return s.hash == me.hash })
			if l.struck(me.obtained, me.sid) || i >= 0 && l.members[i].ended {
				struck = l.reason
				return time.Time{}, nil
			}
			if i >= 0 {
				return time.Time{}, nil
			}
			l.members = slices.DeleteFunc(l.members, func(s member) bool { return s.absolute <= now.Unix() })
			if len(l.members) >= maxMembers {
				first := 0
				for i := range l.members {
					if l.members[i].absolute < l.members[first].absolute {
						first = i
					}
				}
				gone := l.members[first]
				surplus = &gone
				l.members = slices.Delete(l.members, first, first+1)
			}
			l.members = append(l.members, me)
			l.keep = max(l.keep, absolute)
			return time.Unix(l.keep, 0).Add(afterwards), nil
		})
		switch {
		case err != nil:
			return m.storeFailed(ctx, rec, err)
		case struck != "":
			return fail(ErrSessionEnded, struck)
		case surplus != nil:
			if _, err := m.endMember(ctx, nil, surplus, rec.issuer, tooMany); err != nil {
				return m.storeFailed(ctx, rec, err)
			}
		}
	}
	return nil
}

// checkStruck returns ErrSessionEnded if a session was ended together with others, in a way that its own entry does not say.
// The first time it says so and gives the tokens back.
func (m *Manager) checkStruck(ctx context.Context, rec *record) error {
	reason, err := m.struck(ctx, rec)
	if err != nil || reason == "" {
		return err
	}
	last, first, err := m.remember(ctx, rec, reason)
	if err != nil {
		return err
	}
	if first {
		m.report(ctx, client.EventSessionEnded, rec, reason, nil)
		s := (&Session{rec: *rec}).with(last)
		m.giveBack(ctx, m.shared.servers.of(rec), s, reason)
	}
	return fail(ErrSessionEnded, reason)
}

// struck returns why a session was ended together with others, empty if it was not.
func (m *Manager) struck(ctx context.Context, rec *record) (reason string, err error) {
	if rec.obtained < m.shared.notBefore {
		return notBefore, nil
	}
	epoch, err := m.epochNow(ctx)
	switch {
	case err != nil:
		return "", err
	case rec.obtained <= epoch:
		return everySession, nil
	case m.shared.inShare || rec.obtained > m.shared.lastLogout.Load():
		return "", nil
	}
	if rec.sid != "" {
		if reason, err = m.struckHere(ctx, rec, nameHere(keyRoster, bySID, rec.issuer, rec.sid)); reason != "" || err != nil {
			return reason, err
		}
	}
	return m.struckHere(ctx, rec, nameHere(keyRoster, bySubject, rec.issuer, rec.subject, "0"))
}

// struckHere is struck by one roster of this process.
func (m *Manager) struckHere(ctx context.Context, rec *record, key storeKey) (reason string, err error) {
	if mem := m.shared.rosters.memory; mem != nil {
		if _, _, ok := mem.get(key[:]); !ok {
			return "", nil
		}
	}
	name, l := key, new(roster)
	if _, _, err := m.shared.rosters.get(ctx, &name, l); err != nil && err != errPast {
		return "", m.storeFailed(ctx, rec, err)
	}
	if l.struck(rec.obtained, rec.sid != "") {
		return l.reason, nil
	}
	return "", nil
}

// epoch is when every session was ended the last time, milliseconds since 1970. Processes look every epochAge.
type epoch struct {
	at     atomic.Int64
	looked atomic.Int64 // after Manager's start; 0: never
	busy   atomic.Bool
}

// epochNow returns the epoch as it was at most epochAge ago, or longer if nobody has asked since: then the next request knows.
func (m *Manager) epochNow(ctx context.Context) (int64, error) {
	e := &m.shared.epoch
	if !m.shared.inShare {
		return e.at.Load(), nil
	}
	age := int64(time.Since(m.shared.started)) + 1
	looked := e.looked.Load()
	if looked != 0 && age-looked < int64(epochAge)/2 {
		return e.at.Load(), nil
	}
	if looked == 0 || age-looked >= int64(epochAge) { // the first one, or after a rest: wait for it
		err := m.lookForEpoch(ctx)
		return e.at.Load(), err
	}
	if e.busy.CompareAndSwap(false, true) {
		m.shared.work.start(func() {
			defer e.busy.Store(false)
			_ = m.lookForEpoch(context.WithoutCancel(ctx))
		})
	}
	return e.at.Load(), nil
}

func (m *Manager) lookForEpoch(ctx context.Context) error {
	e := &m.shared.epoch
	for _, key := range m.names(keyRoster, everybody) {
		var l roster
		if _, _, err := m.shared.rosters.get(ctx, &key, &l); err != nil && err != errPast {
			return m.storeFailed(ctx, nil, err)
		}
		raise(&e.at, l.all)
	}
	e.looked.Store(int64(time.Since(m.shared.started)) + 1)
	return nil
}

// raise sets a to n if that is more.
func raise(a *atomic.Int64, n int64) {
	for {
		old := a.Load()
		if old >= n || a.CompareAndSwap(old, n) {
			return
		}
	}
}
