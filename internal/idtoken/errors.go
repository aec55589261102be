package idtoken

// Why a token was refused. "jwks" blames the key set, "missing" that there was no token at all, every other reason the token.
const (
	reasonMissing   = "missing"
	reasonSize      = "size"
	reasonFormat    = "format"
	reasonEncrypted = "encrypted"
	reasonCrit      = "crit"
	reasonTyp       = "typ"
	reasonAlg       = "alg"
	reasonKid       = "kid"
	reasonIss       = "iss"
	reasonAud       = "aud"
	reasonAzp       = "azp"
	reasonJWKS      = "jwks"
	reasonSig       = "sig"
	reasonExp       = "exp"
	reasonIat       = "iat"
	reasonNbf       = "nbf"
	reasonSub       = "sub"
	reasonNonce     = "nonce"
	reasonACR       = "acr"
	reasonAuthTime  = "auth_time"
	reasonAtHash    = "at_hash"
	reasonCHash     = "c_hash"
	reasonEvents    = "events"
	reasonJTI       = "jti"
	reasonSID       = "sid"
)

// Error says why a token was refused.
//
// Reason is one of the package's documented reasons. Err explains it in fixed words of this package; for "jwks" it wraps what the
// fetch returned, so that errors.Is(err, context.Canceled) works. Error never contains a byte of the token or of the key set.
type Error struct {
	Reason string
	Err    error
}

func (e *Error) Error() string {
	if d, ok := e.Err.(*detail); ok {
		return "idtoken: " + e.Reason + ": " + d.text
	}
	return "idtoken: " + e.Reason
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// detail is a fixed sentence over a cause whose own text may hold a stranger's bytes and is therefore never printed.
type detail struct {
	text  string
	cause error
}

func (d *detail) Error() string { return d.text }
func (d *detail) Unwrap() error { return d.cause }

func fail(reason, text string) error {
	return &Error{Reason: reason, Err: &detail{text: text}}
}

func failCause(reason, text string, cause error) error {
	return &Error{Reason: reason, Err: &detail{text: text, cause: cause}}
}
