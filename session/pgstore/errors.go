package pgstore

import (
	"context"
	"errors"
	"os"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sallyport/sallyport/session"
)

// Error is a failure of the database or of the way to it: nothing is known of the record, nor whether a write took effect.
// It is session.ErrFull, context.DeadlineExceeded or context.Canceled where that is what happened. The text has no
// statement, key, host or name in it, and no word of the server's.
type Error struct {
	// State is the server's SQLSTATE, five characters; empty if the failure is not one that the server told of. See
	// appendix A of PostgreSQL's manual.
	State string

	reason string
	is     error // nil: none of the errors that callers ask for
}

func (e *Error) Error() string {
	if isState(e.State) {
		return "sallyport: PostgreSQL store: " + e.reason + " (SQLSTATE " + e.State + ")"
	}
	return "sallyport: PostgreSQL store: " + e.reason
}

// isState reports whether s looks like an SQLSTATE: then it is a number in PostgreSQL's own list, and nobody's text.
func isState(s string) bool {
	return len(s) == 5 && strings.Trim(s, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}

// Unwrap returns the error that this one is, nil if it is none that callers ask for.
func (e *Error) Unwrap() error { return e.is }

const (
	notAURL  = "the URL is not that of a PostgreSQL database"
	readOnly = "the database takes no writes: it is a standby, or read-only by default"
	noTable  = "the table sallyport_records is missing or has another form: run Store.Migrate, or look at the search_path"
	noAnswer = "no answer in time"
	givenUp  = "the caller has given up"
	starting = "the database is starting, stopping or recovering"
	refused  = "the database does not let us in: user, password, database or pg_hba.conf"

	readOnlyTransaction = "25006"
)

var (
	errReadOnly = errors.New("read-only")
	errClosed   = errors.New("closed")
)

// reasons are the conditions that an operator does something about, by SQLSTATE.
var reasons = map[string]Error{
	"53100": {reason: "the disk of the database is full", is: session.ErrFull},
	"53200": {reason: "the memory of the database is full", is: session.ErrFull},
	"53300": {reason: "the database has no connection left"},
	"53400": {reason: "a limit of the database's configuration is reached"},

	readOnlyTransaction: {reason: readOnly},
	"40001":             {reason: "the database could not serialize the statement: its default isolation should be read committed"},
	"40P01":             {reason: "the statement met a deadlock"},
	"55P03":             {reason: "the record is locked by somebody else"},

	"42P01": {reason: noTable},
	"42703": {reason: noTable},
	"3F000": {reason: noTable},
	"42P10": {reason: noTable}, // no unique index for the conflict clause
	"428C9": {reason: noTable}, // a generated column where none is expected
	"42501": {reason: "the role may not do that: it needs select, insert, update and delete on sallyport_records"},

	"28000": {reason: refused},
	"28P01": {reason: refused},
	"3D000": {reason: refused},

	"57014": {reason: "the database cancelled the statement: somebody asked for it, or statement_timeout is short"},
	"57P01": {reason: starting},
	"57P02": {reason: starting},
	"57P03": {reason: starting},
	"26000": {reason: "the pooler lost a prepared statement: add default_query_exec_mode=exec to the URL"},
	"42P05": {reason: "the pooler mixed up prepared statements: add default_query_exec_mode=exec to the URL"},
}

// failure turns what pgx says into our words. bounded is the context that pgx had, ctx the caller's.
func failure(ctx, bounded context.Context, err error) *Error {
	var server *pgconn.PgError
	if errors.As(err, &server) && (server.Code != "57014" || bounded.Err() == nil) {
		e, known := reasons[server.Code]
		if !known {
			e.reason = "the database refused the statement"
		}
		e.State = server.Code
		return &e
	}
	var unreachable *pgconn.ConnectError
	var column pgx.ScanArgError
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return &Error{reason: givenUp, is: context.Canceled}
	case bounded.Err() != nil, errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return &Error{reason: noAnswer, is: context.DeadlineExceeded}
	case errors.Is(err, errClosed):
		return &Error{reason: "the store is closed"}
	case errors.Is(err, errReadOnly):
		return &Error{reason: readOnly}
	case errors.As(err, &unreachable):
		return &Error{reason: "the database cannot be reached"}
	case errors.As(err, &column):
		return &Error{reason: noTable}
	}
	return &Error{reason: "the connection to the database broke"}
}
