package session

import (
	"context"
	"sync/atomic"

	"github.com/sallyport/sallyport/client"
)

// The kinds of events that explain what became of a refresh, beside client.EventTokenRefreshed and client.EventRefreshFailed.
// Names are stable. Each is reported once for a refresh and process, not for each request that shares it.
const (
	EventRefreshWaited       = "refresh.waited"               // another process was refreshing; this one waited for it
	EventRefreshAdopted      = "refresh.adopted"              // and took over what that got
	EventRefreshServedStale  = "refresh.served_stale"         // requests go on with the token that is still good while it is replaced
	EventRefreshInDoubt      = "refresh.in_doubt"             // a refresh token may be spent, and what it brought is lost. Reason: the failure's, or interrupted: a process ended in it; or unwritten: the store did not take it for ten minutes
	EventGrantLost           = "token.grant_lost"             // a refresh token was sent twice without an answer: only a login brings tokens again
	EventLeaseLost           = "refresh.lease_lost"           // a refresh took so long that another process took over
	EventResurrectionBlocked = "session.resurrection_blocked" // tokens came for a session that had ended; they were given back
	EventReuseSuspected      = "token.reuse_suspected"        // the server says that a refresh token is over which was sent once only: revoked, or used by somebody else
	EventStoreFailed         = "store.failed"                 // Reason: as of ErrStore
	EventStoreEvicted        = "store.evicted"                // what was kept in this process's memory went before its time, as there is no more room
)

// Counters says how often each thing has happened since the Manager was made, in this process.
type Counters struct {
	Won                 uint64 // refreshes sent to a server
	Refreshed           uint64 // and what they brought was kept
	Waited              uint64 // requests that joined a refresh of this process, and waited for it
	Adopted             uint64 // newer tokens taken over from another process or an earlier refresh
	ServedStale         uint64 // requests served with the old token while a refresh ran in the background
	Failed              uint64 // refreshes that failed, whatever the outcome
	InDoubt             uint64 // refreshes after which a refresh token may be spent, those included that a process began and did not live to tell
	LeaseLost           uint64 // refreshes whose lease another process had taken when the answer came
	ResurrectionBlocked uint64 // tokens that came for a session which had ended
	ReuseSuspected      uint64 // refresh tokens that were over when they were sent the first time
	StoreFailed         uint64 // calls of the store that failed
}

// counters is Counters as it is counted.
type counters struct {
	won, refreshed, waited, adopted, servedStale, failed, inDoubt, leaseLost, resurrectionBlocked, reuseSuspected, storeFailed atomic.Uint64
}

// Counters returns the counters as they are now.
func (m *Manager) Counters() Counters {
	c := &m.shared.counters
	return Counters{
		Won: c.won.Load(), Refreshed: c.refreshed.Load(), Waited: c.waited.Load(), Adopted: c.adopted.Load(), ServedStale: c.servedStale.Load(),
		Failed: c.failed.Load(), InDoubt: c.inDoubt.Load(), LeaseLost: c.leaseLost.Load(), ResurrectionBlocked: c.resurrectionBlocked.Load(),
		ReuseSuspected: c.reuseSuspected.Load(), StoreFailed: c.storeFailed.Load(),
	}
}

// storeFailed counts and reports a failure of the store, and returns it.
func (m *Manager) storeFailed(ctx context.Context, rec *record, err error) error {
	if e, ok := asClientError(err); ok && e.Code == ErrStore && e.Reason != "canceled" {
		m.shared.counters.storeFailed.Add(1)
		if rec == nil {
			m.Report(ctx, client.Event{Kind: EventStoreFailed, Code: e.Code, Reason: e.Reason, Err: e})
		} else {
			m.report(ctx, EventStoreFailed, rec, e.Reason, e)
		}
	}
	return err
}

// reportOnce is report for what every request of a session would say again.
func (m *Manager) reportOnce(ctx context.Context, kind string, r *record, reason string, err error) {
	if m.firstHere(keyEvent, []byte(kind), r.id[:], []byte(reason)) {
		m.report(ctx, kind, r, reason, err)
	}
}
