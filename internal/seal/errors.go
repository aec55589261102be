package seal

// Reason says why a value was refused. Its values are the reasons of a cookie error.
type Reason string

// The reasons.
const (
	// Auth: not sealed by a key of this ring for this name, or changed since.
	Auth Reason = "auth"
	// Version: a form that this release does not know.
	Version Reason = "version"
	// WrongPurpose: authentic perhaps, but made for something else.
	WrongPurpose Reason = "purpose"
	// Expired: authentic, and past its deadline (or from the future).
	Expired Reason = "expired"
	// Size: longer than anything that was ever sealed, or too long to seal.
	Size Reason = "size"
	// Unsealed: no codec of the list would seal it.
	Unsealed Reason = "unsealed"
)

// Error is what sealing and opening return. Its text never says anything about the value itself, nor
// what a codec that is not ours said about it.
type Error struct {
	Reason Reason
	err    error
}

func (e *Error) Error() string { return "seal: refused: " + string(e.Reason) }

// Unwrap returns what went wrong below, if anything did.
func (e *Error) Unwrap() error { return e.err }

// The methods that make it a securecookie.Error, so that code written for
// gorilla/securecookie tells a refused value from a fault of the program.

// IsUsage reports whether the API was used wrongly.
func (e *Error) IsUsage() bool { return false }

// IsDecode reports whether a value was refused.
func (e *Error) IsDecode() bool { return true }

// IsInternal reports whether something broke underneath.
func (e *Error) IsInternal() bool { return false }

// Cause is Unwrap under securecookie's name.
func (e *Error) Cause() error { return e.err }
