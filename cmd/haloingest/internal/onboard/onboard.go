// Package onboard connects workspaces: it checks a token before anything is stored, stores it sealed together with what is to follow from it, and shows
// beforehand what the choices of fields would give. The command connect and the integration page are two callers of it.
package onboard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/jackc/pgx/v5"

	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/cmd/haloingest/internal/secret"
	"haloingest/pipeline/record"
	"haloingest/sinks/postgres"
	"haloingest/sources/intercom"
)

// Options of a Desk. All are needed, but for Log, and for DB and Connections where Check alone is called.
type Options struct {
	DB          *postgres.DB
	Connections *connection.Store
	// Client makes a client of a region's API. It should try a request a few times only: somebody waits for the answer.
	Client func(region string, token secret.Text) (*intercom.Client, error)
	Log    *slog.Logger // nil: nothing is logged
}

// Desk is where workspaces are connected. It is safe for concurrent use and keeps nothing between calls.
type Desk struct {
	o Options
}

// New returns a desk.
func New(o Options) *Desk {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Desk{o}
}

// Request is what Connect is asked to do.
type Request struct {
	Org      record.UUID
	Settings connection.Settings // all of them, see Connection.Settings for present ones
	// Token is the access token. Empty: it is that of the draft that User has for Org, which is used up by it, with its region.
	Token secret.Text
	User  string
	// Webhook is the secret that signs webhooks; empty: a secret that is there stays.
	Webhook secret.Text
	// Access is what Check has just answered for this token and region; nil: Connect asks.
	Access *intercom.Access
}

// Check asks Intercom whose the token is and whether it may read the four kinds in the region, by a handful of requests, and stores nothing. If the
// workspace cannot be connected with it the error is a *Refusal; a region that does not exist is a *connection.SettingError.
func (d *Desk) Check(ctx context.Context, region string, token secret.Text) (intercom.Access, error) {
	if err := connection.ValidRegion(region); err != nil {
		return intercom.Access{}, err
	}
	if token.IsEmpty() {
		return intercom.Access{}, &connection.SettingError{Setting: "token", Want: "an access token of Intercom's"}
	}
	client, err := d.o.Client(region, token)
	if errors.Is(err, intercom.ErrTokenForm) {
		return intercom.Access{}, &Refusal{Why: TokenForm, Err: fmt.Errorf("nothing was stored: %w", err)}
	}
	if err != nil {
		return intercom.Access{}, err
	}
	defer client.Close()
	access, err := client.Check(ctx)
	if err != nil {
		return access, refuse(ctx, fmt.Errorf("nothing was stored: %w", err))
	}
	if len(access.Missing) > 0 {
		return access, &Refusal{Why: MissingScope, Missing: access.Missing}
	}
	return access, nil
}

// Connect checks the token and stores the connection. then runs in the transaction that stores it, so that what follows from connecting, such as a
// backfill that is queued, is there exactly when the connection is; nil does nothing. Nothing is stored when Connect fails: the error is a
// *connection.SettingError, a *Refusal, wraps connection.ErrNoDraft, or comes from then or the database.
func (d *Desk) Connect(ctx context.Context, r Request, then func(ctx context.Context, tx pgx.Tx) error) (connection.Connection, error) {
	draft := r.Token.IsEmpty() && r.User != ""
	if draft {
		kept, err := d.o.Connections.Draft(ctx, r.Org, r.User)
		if err != nil {
			return connection.Connection{}, err
		}
		r.Settings.Region = kept.Region
	}
	if err := r.Settings.Validate(); err != nil {
		return connection.Connection{}, err
	}
	if draft {
		var err error
		if r.Token, err = d.o.Connections.DraftToken(ctx, r.Org, r.User); err != nil {
			return connection.Connection{}, err
		}
	}
	if r.Access == nil {
		access, err := d.Check(ctx, r.Settings.Region, r.Token)
		if err != nil {
			return connection.Connection{}, err
		}
		for _, warning := range access.Warnings {
			d.o.Log.Warn(warning, "org", r.Org.String())
		}
		r.Access = &access
	}
	var c connection.Connection
	err := pgx.BeginFunc(ctx, d.o.DB.Pool(), func(tx pgx.Tx) error {
		if err := d.o.Connections.PutTx(ctx, tx, r.Org, r.Access.Workspace, r.Settings, r.Token, r.Webhook); err != nil {
			return refuse(ctx, err)
		}
		// Behind PutTx, which locks the key set: rows are locked after it.
		if draft {
			if err := d.o.Connections.TakeDraft(ctx, tx, r.Org, r.User); err != nil {
				return err
			}
		}
		var err error
		if c, err = d.o.Connections.GetTx(ctx, tx, r.Org); err != nil || then == nil {
			return err
		}
		return then(ctx, tx)
	})
	if err != nil {
		return connection.Connection{}, err
	}
	return c, nil
}

// Begin checks a token and keeps it for the choices that are to go with it, as the first step of a form in two steps: Connect with the same user and
// no token is the second, Preview shows what there is to choose. A draft that the user has already is replaced. Errors are those of Check.
func (d *Desk) Begin(ctx context.Context, org record.UUID, user, region string, token secret.Text) (connection.Draft, intercom.Access, error) {
	access, err := d.Check(ctx, region, token)
	if err != nil {
		return connection.Draft{}, access, err
	}
	draft, err := d.o.Connections.PutDraft(ctx, org, user, region, token)
	return draft, access, err
}

// Drop forgets the user's draft, if there is one.
func (d *Desk) Drop(ctx context.Context, org record.UUID, user string) error {
	return d.o.Connections.DropDraft(ctx, org, user)
}
