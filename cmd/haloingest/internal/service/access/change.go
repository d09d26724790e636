package access

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"haloingest/pipeline/record"
)

// Lifetimes of one-time links.
const (
	firstLinkLasts = time.Hour
	linkLasts      = 24 * time.Hour
)

// FirstLink makes the token of the link by which the first person is made, and voids the one before; "" if there is somebody already.
func (u *Users) FirstLink(ctx context.Context) (token string, err error) {
	err = u.inTx(ctx, "make the first link", func(tx pgx.Tx) error {
		var somebody bool
		if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM ingest.users)`).Scan(&somebody); err != nil || somebody {
			return err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM ingest.access_links WHERE user_id IS NULL`); err != nil {
			return err
		}
		var stored []byte
		token, stored = newToken("")
		_, err := tx.Exec(ctx, `INSERT INTO ingest.access_links (token_hash, expires_at) VALUES ($1, now() + $2::interval)`, stored, firstLinkLasts)
		return err
	})
	if err != nil {
		return "", err
	}
	return token, nil
}

// insertUser adds a person, who has no password and no role.
func insertUser(ctx context.Context, tx pgx.Tx, name, hash string, overseer bool) (User, error) {
	name, err := checkName(name)
	if err != nil {
		return User{}, err
	}
	x := User{ID: newID(), Name: name, Overseer: overseer, HasPassword: hash != "", Roles: map[record.UUID]Role{}, epoch: 1}
	err = tx.QueryRow(ctx, `INSERT INTO ingest.users (id, name, name_key, password_hash, password_at, overseer)
		VALUES ($1, $2, $3, nullif($4, ''), CASE WHEN $4 <> '' THEN now() END, $5) ON CONFLICT (name_key) DO NOTHING RETURNING created_at`,
		x.ID, name, nameKey(name), hash, overseer).Scan(&x.CreatedAt)
	if errors.Is(err, pgx.ErrNoRows) {
		return User{}, inputf("There is somebody named %s already.", name)
	}
	x.CreatedAt = x.CreatedAt.UTC()
	return x, err
}

// Add adds a person, with a role in each of the organisations, and makes the token of the link by which they set their password.
func (u *Users) Add(ctx context.Context, name string, overseer bool, roles map[record.UUID]Role) (x User, link string, err error) {
	err = u.inTx(ctx, "add a person", func(tx pgx.Tx) error {
		if x, err = insertUser(ctx, tx, name, "", overseer); err != nil {
			return err
		}
		detail := map[string]string{"name": x.Name}
		if overseer {
			detail["overseer"] = "yes"
		}
		if err := writeAudit(ctx, tx, record.UUID{}, "added a person", detail); err != nil {
			return err
		}
		for org, role := range roles {
			if err := setRole(ctx, tx, x, org, role); err != nil {
				return err
			}
			x.Roles[org] = role
		}
		link, err = makeLink(ctx, tx, x)
		return err
	})
	return x, link, err
}

// Link makes the token of a link by which a person sets a password, and voids the ones before.
func (u *Users) Link(ctx context.Context, id record.UUID) (link string, err error) {
	err = u.change(ctx, id, "make a link", func(tx pgx.Tx, x User) error {
		if link, err = makeLink(ctx, tx, x); err != nil {
			return err
		}
		return writeAudit(ctx, tx, record.UUID{}, "made a password link", map[string]string{"name": x.Name})
	})
	return link, err
}

func makeLink(ctx context.Context, tx pgx.Tx, x User) (string, error) {
	if _, err := tx.Exec(ctx, `DELETE FROM ingest.access_links WHERE user_id = $1 AND used_at IS NULL`, x.ID); err != nil {
		return "", err
	}
	token, stored := newToken("")
	_, err := tx.Exec(ctx, `INSERT INTO ingest.access_links (token_hash, user_id, expires_at) VALUES ($1, $2, now() + $3::interval)`, stored, x.ID, linkLasts)
	return token, err
}

// change runs f with a person, who stays as they are until it ends.
func (u *Users) change(ctx context.Context, id record.UUID, what string, f func(tx pgx.Tx, x User) error) error {
	return u.inTx(ctx, what, func(tx pgx.Tx) error {
		list, err := u.list(ctx, tx, `WHERE u.id = $1 FOR UPDATE OF u`, id)
		if err == nil && len(list) == 0 {
			err = fmt.Errorf("%s: %w", id, ErrNoUser)
		}
		if err != nil {
			return err
		}
		return f(tx, list[0])
	})
}

// SetPassword gives a person another password and ends their sessions and links.
func (u *Users) SetPassword(ctx context.Context, id record.UUID, password string) error {
	x, err := u.Get(ctx, id)
	if err != nil {
		return err
	}
	if err := CheckPassword(password, x.Name); err != nil {
		return err
	}
	hash, err := u.hasher.hash(ctx, password)
	if err != nil {
		return err
	}
	return u.change(ctx, id, "set a password", func(tx pgx.Tx, x User) error { return setPassword(ctx, tx, x, hash) })
}

func setPassword(ctx context.Context, tx pgx.Tx, x User, hash string) error {
	if _, err := tx.Exec(ctx, `UPDATE ingest.users SET password_hash = $2, password_at = now() WHERE id = $1`, x.ID, hash); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `DELETE FROM ingest.access_links WHERE user_id = $1 AND used_at IS NULL`, x.ID); err != nil {
		return err
	}
	if err := endSessions(ctx, tx, x); err != nil {
		return err
	}
	return writeAudit(ctx, tx, record.UUID{}, "set a password", map[string]string{"name": x.Name})
}

// endSessions ends all sessions of a person: those that are stored, and by the epoch any that a request has in hand.
func endSessions(ctx context.Context, tx pgx.Tx, x User) error {
	if _, err := tx.Exec(ctx, `UPDATE ingest.users SET epoch = epoch + 1 WHERE id = $1`, x.ID); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `DELETE FROM ingest.sessions WHERE user_id = $1`, x.ID)
	return err
}

// EndSessions signs a person out everywhere.
func (u *Users) EndSessions(ctx context.Context, id record.UUID) error {
	return u.change(ctx, id, "end sessions", func(tx pgx.Tx, x User) error {
		if err := endSessions(ctx, tx, x); err != nil {
			return err
		}
		return writeAudit(ctx, tx, record.UUID{}, "ended all sessions", map[string]string{"name": x.Name})
	})
}

// SetDisabled lets a person sign in no more, or again. Who is disabled is signed out, and their tokens and links do nothing. The last overseer cannot be disabled.
func (u *Users) SetDisabled(ctx context.Context, id record.UUID, disabled bool) error {
	return u.change(ctx, id, "disable a person", func(tx pgx.Tx, x User) error {
		if disabled && x.Overseer {
			if err := notLast(ctx, tx, x); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(ctx, `UPDATE ingest.users SET disabled_at = CASE WHEN $2 THEN coalesce(disabled_at, now()) END WHERE id = $1`, x.ID, disabled); err != nil {
			return err
		}
		action := "enabled a person"
		if disabled {
			action = "disabled a person"
			if err := endSessions(ctx, tx, x); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, `DELETE FROM ingest.access_links WHERE user_id = $1 AND used_at IS NULL`, x.ID); err != nil {
				return err
			}
		}
		return writeAudit(ctx, tx, record.UUID{}, action, map[string]string{"name": x.Name})
	})
}

// SetOverseer makes a person look after this installation, or not any more. There is always one who does.
func (u *Users) SetOverseer(ctx context.Context, id record.UUID, overseer bool) error {
	return u.change(ctx, id, "change an overseer", func(tx pgx.Tx, x User) error {
		if !overseer && x.Overseer {
			if err := notLast(ctx, tx, x); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(ctx, `UPDATE ingest.users SET overseer = $2 WHERE id = $1`, x.ID, overseer); err != nil {
			return err
		}
		action := "made an overseer"
		if !overseer {
			action = "unmade an overseer"
		}
		return writeAudit(ctx, tx, record.UUID{}, action, map[string]string{"name": x.Name})
	})
}

// notLast fails if x is the only overseer who can sign in.
func notLast(ctx context.Context, tx pgx.Tx, x User) error {
	var others bool
	if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM ingest.users WHERE overseer AND disabled_at IS NULL AND id <> $1)`, x.ID).Scan(&others); err != nil {
		return err
	}
	if !others {
		return inputf("%s is the last one who looks after this installation. Make somebody else an overseer first.", x.Name)
	}
	return nil
}

// SetRole gives a person a role in an organisation; NoRole takes it.
func (u *Users) SetRole(ctx context.Context, id, org record.UUID, role Role) error {
	return u.change(ctx, id, "change a role", func(tx pgx.Tx, x User) error { return setRole(ctx, tx, x, org, role) })
}

func setRole(ctx context.Context, tx pgx.Tx, x User, org record.UUID, role Role) error {
	if org.IsZero() {
		return inputf("The nil UUID names no organisation.")
	}
	var err error
	if role == NoRole {
		_, err = tx.Exec(ctx, `DELETE FROM ingest.memberships WHERE org_id = $1 AND user_id = $2`, org, x.ID)
	} else {
		_, err = tx.Exec(ctx, `INSERT INTO ingest.memberships (org_id, user_id, role) VALUES ($1, $2, $3)
			ON CONFLICT (org_id, user_id) DO UPDATE SET role = excluded.role`, org, x.ID, role.String())
	}
	if err != nil {
		return err
	}
	return writeAudit(ctx, tx, org, "set a role", map[string]string{"name": x.Name, "role": role.String()})
}

// linkUse is what a one-time link is for.
type linkUse struct {
	first bool
	user  User // of a link that is not the first
}

var errLink = errors.New("the link has been used, or has expired")

// peekLink says what a link is for, without using it. Its error may be errLink.
func (u *Users) peekLink(ctx context.Context, stored []byte) (linkUse, error) {
	var use linkUse
	err := pgx.BeginTxFunc(ctx, u.pool, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) (err error) {
		use, err = u.useLink(ctx, tx, stored, false)
		return err
	})
	if err != nil {
		return use, fmt.Errorf("read a link: %w", err)
	}
	return use, nil
}

// useLink reads a link, and with use takes it.
func (u *Users) useLink(ctx context.Context, tx pgx.Tx, stored []byte, use bool) (linkUse, error) {
	var of *[16]byte
	sql := `SELECT user_id FROM ingest.access_links WHERE token_hash = $1 AND used_at IS NULL AND expires_at > now()`
	if use {
		sql = `UPDATE ingest.access_links SET used_at = now() WHERE token_hash = $1 AND used_at IS NULL AND expires_at > now() RETURNING user_id`
	}
	err := tx.QueryRow(ctx, sql, stored).Scan(&of)
	if errors.Is(err, pgx.ErrNoRows) {
		return linkUse{}, errLink
	}
	if err != nil {
		return linkUse{}, err
	}
	if of == nil {
		var somebody bool
		err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM ingest.users)`).Scan(&somebody)
		if err == nil && somebody {
			err = errLink
		}
		return linkUse{first: true}, err
	}
	list, err := u.list(ctx, tx, `WHERE u.id = $1`, of)
	if err == nil && (len(list) == 0 || list[0].Disabled) {
		err = errLink
	}
	if err != nil {
		return linkUse{}, err
	}
	return linkUse{user: list[0]}, nil
}

// redeem uses a link: it makes the first person, with that name, or gives the link's person a password. name is not used there.
func (u *Users) redeem(ctx context.Context, stored []byte, name, password string) (x User, err error) {
	use, err := u.peekLink(ctx, stored)
	if err != nil {
		return User{}, err
	}
	if !use.first {
		name = use.user.Name
	}
	if name, err = checkName(name); err != nil {
		return User{}, err
	}
	if err := CheckPassword(password, name); err != nil {
		return User{}, err
	}
	hash, err := u.hasher.hash(ctx, password)
	if err != nil {
		return User{}, err
	}
	err = u.inTx(ctx, "use a link", func(tx pgx.Tx) error {
		use, err := u.useLink(ctx, tx, stored, true)
		if err != nil {
			return err
		}
		if use.first {
			if x, err = insertUser(ctx, tx, name, hash, true); err != nil {
				return err
			}
			return writeAudit(With(ctx, Identity{User: x.ID, Name: x.Name}), tx, record.UUID{}, "became the first overseer", nil)
		}
		x = use.user
		if err := setPassword(With(ctx, Identity{User: x.ID, Name: x.Name}), tx, x, hash); err != nil {
			return err
		}
		x.epoch++
		return nil
	})
	return x, err
}
