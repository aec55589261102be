package session

import (
	"errors"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/internal/cookies"
	"github.com/sallyport/sallyport/internal/seal"
)

// The failures of this package. Each is the Code of a *client.Error.
const (
	// ErrNoSession: the request carries no session.
	ErrNoSession client.Code = "no_session"
	// ErrCookie: the request carries one that cannot be used, or the answer would be one that browsers
	// do not keep. Reason: duplicate, size, chunk, auth, version, purpose or expired.
	ErrCookie client.Code = "cookie"
	// ErrSessionEnded: it is over before its time. Reason "logout"; "replaced" by a newer login in the same browser, whose
	// cookie is not to be taken away for it; "grant_revoked" or "id_token": its grant is over; "grant_lost": its refresh
	// token was sent twice without an answer; "size": a refresh brought
	// tokens that are longer than browsers keep; "backchannel_logout": the server ended it; "subject_ended",
	// "every_session_ended", "not_before": an operator did; "gone": the store has it no more; "too_many": the user has thousands of newer ones; "client": it belongs to
	// another registration.
	ErrSessionEnded client.Code = "session_ended"
	// ErrSessionExpired: past its idle or its absolute deadline. Reason: idle or absolute.
	// Is ErrCookie with reason expired, too.
	ErrSessionExpired client.Code = "session_expired"
	// ErrNoToken: the access token is spent and there is no refresh token to get another. Reason "refresh_expired": it has passed
	// the time that the server gave it.
	ErrNoToken client.Code = "no_token"
	// ErrStore: the store does not answer, or not with what we wrote there. Not a logout: outcome Transient, with RetryAfter. Reason:
	// unavailable, timeout, canceled, full, conflict, panic; corrupt or version for bytes that none of our Keys has sealed there, stale for an
	// old copy, clock for a record or cookie from the future: nothing is overwritten then.
	ErrStore client.Code = "store"
)

// tooLong reports whether browsers would not keep what was to be written.
func tooLong(err error) bool {
	e, ok := asClientError(err)
	return ok && e.Code == ErrCookie && e.Reason == string(cookies.Size)
}

func fail(code client.Code, reason string) *client.Error { return client.NewError(code, reason, nil) }

func configError(reason, hint string) *client.Error {
	return client.NewError(client.ErrConfig, reason, nil).WithHint(hint)
}

// cookieError gives the errors of the rooms below their one name outside.
func cookieError(err error) *client.Error {
	switch e := err.(type) { // as they come; a forged cookie should cost no more than a good one
	case *seal.Error:
		if e.Reason == seal.Unsealed {
			return client.NewError(client.ErrConfig, "codecs", e)
		}
		refused := fail(ErrCookie, string(e.Reason))
		if e.Reason == seal.Auth {
			refused.WithHint("it was sealed with none of Config.Keys, for another origin or name, or changed on its way")
		}
		return refused
	case cookies.Reason:
		return fail(ErrCookie, string(e))
	}
	var sealed *seal.Error
	var reason cookies.Reason
	switch {
	case errors.As(err, &sealed):
		return cookieError(sealed)
	case errors.As(err, &reason):
		return cookieError(reason)
	case errors.Is(err, errRecord):
		return fail(ErrCookie, string(seal.Version))
	}
	return fail(ErrCookie, string(seal.Auth))
}

func expiredError(reason string) *client.Error {
	return client.NewError(ErrSessionExpired, reason, fail(ErrCookie, string(seal.Expired)))
}
