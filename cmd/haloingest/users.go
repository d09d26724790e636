package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"haloingest/cmd/haloingest/internal/service/access"
	"haloingest/pipeline/record"
)

// users is for operators: above all for one who cannot get in by the web any more.
func (a *app) users() *cli.Command {
	flags := func(own ...cli.Flag) []cli.Flag { return concat(own, storeFlags(), outputFlags()) }
	public := func() cli.Flag {
		return &cli.StringFlag{Name: "public-url", Usage: "`URL` under which people reach the service, for links", Value: "http://127.0.0.1:8080"}
	}
	password := func() cli.Flag {
		return &cli.StringFlag{Name: "password-file", Usage: "`FILE` with the password, - for standard input; without it a one-time link is made to set one"}
	}
	return &cli.Command{
		Name:  "users",
		Usage: "who may sign in to the web service, and what they may do there",
		Subcommands: []*cli.Command{
			{Name: "ls", Usage: "list everybody", Flags: flags(), Action: a.listUsers},
			{Name: "add", Usage: "add somebody, by name or e-mail address", ArgsUsage: "NAME", Action: a.addUser, Flags: flags(orgFlag(),
				&cli.StringFlag{Name: "role", Usage: "`ROLE` in the organisation of --org: viewer, operator, admin", Value: access.Viewer.String()},
				&cli.BoolFlag{Name: "overseer", Usage: "looks after the installation: people, and every organisation"}, password(), public())},
			{Name: "password", Usage: "set another password; whoever is signed in with the old one is signed out", ArgsUsage: "NAME", Action: a.userPassword, Flags: flags(password(), public())},
			{Name: "disable", Usage: "let somebody sign in no more", ArgsUsage: "NAME", Flags: flags(), Action: a.userDisabled(true)},
			{Name: "enable", Usage: "let somebody sign in again", ArgsUsage: "NAME", Flags: flags(), Action: a.userDisabled(false)},
			{Name: "role", Usage: "say what somebody may do in an organisation: viewer, operator, admin, none", ArgsUsage: "NAME ROLE", Flags: flags(orgFlag()), Action: a.userRole},
			{Name: "overseer", Usage: "let somebody look after the installation, or not any more", ArgsUsage: "NAME", Action: a.userOverseer,
				Flags: flags(&cli.BoolFlag{Name: "no", Usage: "not any more"})},
			{Name: "token", Usage: "make a token for scripts that read in somebody's name, list them, or revoke one", ArgsUsage: "NAME", Action: a.userToken, Flags: flags(
				&cli.StringFlag{Name: "label", Usage: "what it is for: a `TEXT`"},
				&cli.StringFlag{Name: "revoke", Usage: "revoke the token with this `ID`"})},
		},
	}
}

// asOperator is who changes people here.
func asOperator(ctx context.Context) context.Context {
	return access.With(ctx, access.Identity{Name: "command line"})
}

// openUsers reads the operands, of which there have to be so many, and opens the database.
func (a *app) openUsers(c *cli.Context, operands ...string) (*database, *access.Users, error) {
	if n := c.Args().Len(); n != len(operands) {
		if n > len(operands) {
			return nil, nil, usagef("%q is not expected here; run: %s --help", c.Args().Get(len(operands)), c.Command.HelpName)
		}
		return nil, nil, usagef("%s is missing; run: %s --help", operands[n], c.Command.HelpName)
	}
	d, err := a.openDatabaseAllowing(c)
	if err != nil {
		return nil, nil, err
	}
	if err := d.upgrade(c.Context); err != nil {
		d.close()
		return nil, nil, err
	}
	return d, access.NewUsers(d.Pool()), nil
}

// userResult is the JSON of the commands that change somebody. Link, Token are shown this once.
type userResult struct {
	access.User
	Link   string         `json:"link,omitempty"`
	Token  string         `json:"token,omitempty"`
	Tokens []access.Token `json:"tokens,omitempty"`
}

func (a *app) listUsers(c *cli.Context) error {
	d, users, err := a.openUsers(c)
	if err != nil {
		return err
	}
	defer d.close()
	list, err := users.List(c.Context)
	if err != nil {
		return err
	}
	if list == nil {
		list = []access.User{}
	}
	return a.result(struct {
		Users []access.User `json:"users"`
	}{list}, func(w io.Writer) {
		if len(list) == 0 {
			fmt.Fprintln(w, "There is nobody. Add the first one with: haloingest users add NAME --overseer")
			return
		}
		var rows [][]string
		for _, u := range list {
			rows = append(rows, []string{u.Name, standing(u), rolesText(u), moment(u.SignedInAt, "never"), fmt.Sprint(u.Sessions)})
		}
		table(w, []string{"name", "standing", "roles", "signed in", "sessions"}, rows)
	})
}

func standing(u access.User) string {
	switch {
	case u.Disabled:
		return "disabled"
	case u.Overseer:
		return "overseer"
	case !u.HasPassword:
		return "no password"
	}
	return "member"
}

func rolesText(u access.User) string {
	var list []string
	for org, role := range u.Roles {
		list = append(list, role.String()+" of "+org.String())
	}
	slices.Sort(list)
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}

// readPassword reads the file of --password-file; ok is false where none is given. A password may have blanks, also at its ends; a line
// end at the end is the editor's.
func (a *app) readPassword(c *cli.Context) (password string, ok bool, err error) {
	file := c.String("password-file")
	var in io.Reader
	switch file {
	case "":
		return "", false, nil
	case "-":
		in = a.stdin
	default:
		f, err := os.Open(file)
		if err != nil {
			return "", false, usagef("--password-file: %w", err)
		}
		defer f.Close()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, maxSecretFile+1))
	if err != nil {
		return "", false, usagef("--password-file: %w", err)
	}
	password = strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	if strings.ContainsAny(password, "\r\n") {
		return "", false, usagef("--password-file holds more than one line; want the password alone")
	}
	return password, true, nil
}

// tell prints what was done with somebody, as they are now.
func (a *app) tell(c *cli.Context, users *access.Users, id record.UUID, r userResult, format string, args ...any) error {
	u, err := users.Get(c.Context, id)
	if err != nil {
		return err
	}
	r.User = u
	return a.result(r, func(w io.Writer) {
		fmt.Fprintf(w, format+"\n", args...)
		if r.Link != "" {
			fmt.Fprintf(w, "Whoever opens this within a day sets the password; it works once, and is not shown again:\n%s\n", r.Link)
		}
		if r.Token != "" {
			fmt.Fprintf(w, "The token is not shown again. Scripts send it as Authorization: Bearer TOKEN, below /api/:\n%s\n", r.Token)
		}
	})
}

func (a *app) addUser(c *cli.Context) error {
	roles := map[record.UUID]access.Role{}
	if c.IsSet("org") {
		id, err := org(c)
		if err != nil {
			return err
		}
		if roles[id], err = access.ParseRole(c.String("role")); err != nil {
			return usagef("--role: %w", err)
		}
	} else if c.IsSet("role") {
		return usagef("--role is of an organisation: name it with --org")
	}
	password, given, err := a.readPassword(c)
	if err != nil {
		return err
	}
	d, users, err := a.openUsers(c, "NAME")
	if err != nil {
		return err
	}
	defer d.close()
	if given { // before anything is stored
		if err := access.CheckPassword(password, c.Args().First()); err != nil {
			return err
		}
	}
	ctx := asOperator(c.Context)
	u, link, err := users.Add(ctx, c.Args().First(), c.Bool("overseer"), roles)
	if err != nil {
		return err
	}
	r := userResult{Link: access.LinkURL(c.String("public-url"), link)}
	if given {
		r.Link = ""
		if err := users.SetPassword(ctx, u.ID, password); err != nil {
			return err
		}
	}
	return a.tell(c, users, u.ID, r, "Added %s.", u.Name)
}

func (a *app) userPassword(c *cli.Context) error {
	password, given, err := a.readPassword(c)
	if err != nil {
		return err
	}
	d, users, err := a.openUsers(c, "NAME")
	if err != nil {
		return err
	}
	defer d.close()
	u, err := users.Find(c.Context, c.Args().First())
	if err != nil {
		return err
	}
	ctx := asOperator(c.Context)
	if given {
		if err := users.SetPassword(ctx, u.ID, password); err != nil {
			return err
		}
		return a.tell(c, users, u.ID, userResult{}, "The password of %s is set.", u.Name)
	}
	link, err := users.Link(ctx, u.ID)
	if err != nil {
		return err
	}
	return a.tell(c, users, u.ID, userResult{Link: access.LinkURL(c.String("public-url"), link)}, "A link for %s:", u.Name)
}

func (a *app) userDisabled(disabled bool) cli.ActionFunc {
	said := "%s may sign in."
	if disabled {
		said = "%s may not sign in any more."
	}
	return func(c *cli.Context) error {
		d, users, err := a.openUsers(c, "NAME")
		if err != nil {
			return err
		}
		defer d.close()
		u, err := users.Find(c.Context, c.Args().First())
		if err == nil {
			err = users.SetDisabled(asOperator(c.Context), u.ID, disabled)
		}
		if err != nil {
			return err
		}
		return a.tell(c, users, u.ID, userResult{}, said, u.Name)
	}
}

func (a *app) userRole(c *cli.Context) error {
	id, err := org(c)
	if err != nil {
		return err
	}
	role := access.NoRole
	if name := c.Args().Get(1); name != "" && name != access.NoRole.String() {
		if role, err = access.ParseRole(name); err != nil {
			return usagef("%w, or none", err)
		}
	}
	d, users, err := a.openUsers(c, "NAME", "ROLE")
	if err != nil {
		return err
	}
	defer d.close()
	u, err := users.Find(c.Context, c.Args().First())
	if err == nil {
		err = users.SetRole(asOperator(c.Context), u.ID, id, role)
	}
	if err != nil {
		return err
	}
	return a.tell(c, users, u.ID, userResult{}, "%s has the role %s in organisation %s.", u.Name, role, id)
}

func (a *app) userOverseer(c *cli.Context) error {
	d, users, err := a.openUsers(c, "NAME")
	if err != nil {
		return err
	}
	defer d.close()
	u, err := users.Find(c.Context, c.Args().First())
	if err == nil {
		err = users.SetOverseer(asOperator(c.Context), u.ID, !c.Bool("no"))
	}
	if err != nil {
		return err
	}
	said := "%s looks after this installation."
	if c.Bool("no") {
		said = "%s does not look after this installation any more."
	}
	return a.tell(c, users, u.ID, userResult{}, said, u.Name)
}

func (a *app) userToken(c *cli.Context) error {
	if c.IsSet("label") && c.IsSet("revoke") {
		return usagef("--label makes a token, and --revoke ends one: give one of them")
	}
	d, users, err := a.openUsers(c, "NAME")
	if err != nil {
		return err
	}
	defer d.close()
	u, err := users.Find(c.Context, c.Args().First())
	if err != nil {
		return err
	}
	ctx := asOperator(c.Context)
	switch {
	case c.IsSet("label"):
		token, err := users.AddToken(ctx, u.ID, c.String("label"))
		if err != nil {
			return err
		}
		return a.tell(c, users, u.ID, userResult{Token: token}, "Made a token of %s.", u.Name)
	case c.IsSet("revoke"):
		id, err := record.ParseUUID(c.String("revoke"))
		if err != nil {
			return usagef("--revoke: %w", err)
		}
		if err := users.RevokeToken(ctx, u.ID, id); err != nil {
			return err
		}
		return a.tell(c, users, u.ID, userResult{}, "The token is revoked.")
	}
	list, err := users.Tokens(c.Context, u.ID)
	if err != nil {
		return err
	}
	return a.result(userResult{User: u, Tokens: list}, func(w io.Writer) {
		if len(list) == 0 {
			fmt.Fprintf(w, "%s has no tokens. Make one with: haloingest users token %q --label TEXT\n", u.Name, u.Name)
			return
		}
		var rows [][]string
		for _, t := range list {
			rows = append(rows, []string{t.ID.String(), t.Label, moment(t.CreatedAt, ""), moment(t.UsedAt, "never")})
		}
		table(w, []string{"id", "for", "made", "last used"}, rows)
	})
}
