package session

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"net/http"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/internal/cookies"
	"github.com/sallyport/sallyport/internal/seal"
)

// logoutKind is the cookie of a logout that is under way at the server. There is one: the last counts.
func (m *Manager) logoutKind() cookies.Kind {
	k := m.session
	k.Name += "-logout"
	return k
}

// logoutState is the sealed content.
type logoutState string

// AppendBinary writes the state.
func (s *logoutState) AppendBinary(b []byte) ([]byte, error) { return append(b, *s...), nil }

// UnmarshalBinary reads the state.
func (s *logoutState) UnmarshalBinary(b []byte) error {
	*s = logoutState(b)
	return nil
}

// SaveLogout begins a logout at the server (OpenID Connect RP-Initiated Logout 1.0 §2): it returns a state of 256 random
// bits for the end_session_endpoint and writes its cookie. Failure: client.ErrConfig if no codec seals.
func (m *Manager) SaveLogout(w http.ResponseWriter, r *http.Request) (state string, err error) {
	var raw [32]byte
	rand.Read(raw[:])
	state = base64.RawURLEncoding.EncodeToString(raw[:])
	kind, content := m.logoutKind(), logoutState(state)
	lifetime := m.shared.cfg.LoginTimeout
	text, err := m.shared.logouts.Seal(seal.Name(seal.Logout, kind.Name, m.origin), &content, m.now().Add(lifetime))
	if err == nil {
		err = kind.SetWhole(w.Header(), text, lifetime)
	}
	if err != nil {
		return "", cookieError(err)
	}
	return state, nil
}

// TakeLogout uses up the state that came back to the post-logout redirect URI: it succeeds once, in the browser that
// SaveLogout answered. It expires the cookie then. Failure, with nothing written:
// client.ErrStateMissing, ErrStateMismatch, ErrStateExpired, ErrStateReplayed; ErrCookie.
func (m *Manager) TakeLogout(w http.ResponseWriter, r *http.Request, state string) error {
	kind := m.logoutKind()
	text, found, err := cookies.Get(r.Header["Cookie"], kind.Name)
	key := claimOf(state)
	switch {
	case state == "":
		return fail(client.ErrStateMissing, "")
	case err != nil:
		return cookieError(err)
	case m.takenHere(key):
		return fail(client.ErrStateReplayed, "")
	case !found:
		return fail(client.ErrStateMismatch, "")
	}
	var content logoutState
	opened, err := m.shared.logouts.Open(seal.Name(seal.Logout, kind.Name, m.origin), text, &content)
	if err != nil {
		e := cookieError(err)
		if e.Reason == string(seal.Expired) {
			return client.NewError(client.ErrStateExpired, "", e)
		}
		return e
	}
	if subtle.ConstantTimeCompare([]byte(content), []byte(state)) != 1 {
		return fail(client.ErrStateMismatch, "")
	}
	if !m.takeIdly(key, opened.Expires) {
		return fail(client.ErrStateReplayed, "")
	}
	kind.Expire(w.Header(), cookies.Found{})
	return nil
}
