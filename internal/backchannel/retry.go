package backchannel

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

const (
	// maxRetries bounds every class. The classes that may do less keep count in
	// their call.
	maxRetries = 2

	minBackoff = 200 * time.Millisecond
	maxBackoff = minBackoff << (maxRetries - 1)

	maxRetryAfter = 60 * time.Second

	// maxGrantWait is how long a refresh waits in the call for a server that asked
	// for patience. Somebody is waiting too, and often with a token that still
	// works: a longer wait is the caller's to plan.
	maxGrantWait = time.Second
)

// checkRetry is the policy (go-retryablehttp's CheckRetry): whether to send
// again after an attempt that ended with resp or err. It never returns an error
// of its own, so that the last answer or failure stays what it is.
func (c *Client) checkRetry(ctx context.Context, resp *http.Response, err error) (bool, error) {
	call := callFrom(ctx)
	if err != nil {
		var e *Error
		if !errors.As(err, &e) || e.Kind != KindTransport || !fits(ctx, maxBackoff) {
			return false, nil
		}
		if call.class == Idempotent {
			return true, nil
		}
		// The one place where a grant is repeated after a failure.
		if e.InDoubt || call.resent {
			return false, nil
		}
		call.resent = true
		return true, nil
	}

	wait, asked := retryAfter(resp.Header, c.now())
	wait = max(wait, maxBackoff)
	switch call.class {
	case Idempotent:
		return overloaded(resp.StatusCode) && fits(ctx, wait), nil
	case RefreshGrant:
		if !asked || call.waited || wait > maxGrantWait || !fits(ctx, wait) {
			return false, nil
		}
		switch resp.StatusCode {
		case http.StatusTooManyRequests, http.StatusServiceUnavailable:
			// RFC 6585 §4, RFC 9110 §15.6.4: not processed.
			call.waited = true
			return true, nil
		}
	}
	return false, nil
}

// overloaded reports whether an idempotent call that got this status may get a
// better one a moment later.
func overloaded(status int) bool {
	switch status {
	case http.StatusTooManyRequests, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// fits reports whether the deadline leaves room for an attempt after the wait.
func fits(ctx context.Context, wait time.Duration) bool {
	deadline, ok := ctx.Deadline()
	return !ok || time.Until(deadline) > wait
}

// backoff is how long to wait before the next attempt (go-retryablehttp's
// Backoff): what the server asked for, and at least a random time that grows, so
// that many clients do not come back together.
func (c *Client) backoff(least, most time.Duration, attempt int, resp *http.Response) time.Duration {
	wait := min(least<<attempt, most) // attempt is below maxRetries
	wait = wait/2 + rand.N(wait/2+1)
	if resp != nil {
		asked, _ := retryAfter(resp.Header, c.now())
		wait = max(wait, asked)
	}
	return wait
}

// retryAfter reads Retry-After (RFC 9110 §10.2.3), as seconds or as a date, and
// clamps it to 0…60 seconds. ok is false if there is none, or more than one, or
// it is neither.
func retryAfter(h http.Header, now time.Time) (wait time.Duration, ok bool) {
	values := h["Retry-After"]
	if len(values) != 1 || values[0] == "" {
		return 0, false
	}
	if isDigits(values[0]) {
		seconds, err := strconv.ParseInt(values[0], 10, 64)
		if err != nil || seconds > int64(maxRetryAfter/time.Second) {
			return maxRetryAfter, true // the error can only be overflow
		}
		return time.Duration(seconds) * time.Second, true
	}
	date, err := http.ParseTime(values[0])
	if err != nil {
		return 0, false
	}
	return min(max(date.Sub(now), 0), maxRetryAfter), true
}

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
