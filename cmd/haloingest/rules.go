package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"haloingest/pipeline/record"
	"haloingest/sinks/postgres"
)

// ruleWidth is the most characters of a learning rule.
const ruleWidth = 2000

func (a *app) rules() *cli.Command {
	common := func(flags ...cli.Flag) []cli.Flag {
		return concat([]cli.Flag{orgFlag()}, flags, storeFlags(), outputFlags())
	}
	texts := func() []cli.Flag {
		return []cli.Flag{
			&cli.StringSliceFlag{Name: "topic", Usage: "distil only conversations on this `TOPIC`, or another one that is listed"},
			&cli.StringSliceFlag{Name: "keyword", Usage: "learn nothing from conversations that hold this `WORD` or phrase, in any case, anywhere"},
			&cli.StringSliceFlag{Name: "instruction", Usage: "guidance `TEXT` for a model that distils; it filters nothing"},
		}
	}
	return &cli.Command{
		Name:  "rules",
		Usage: "list, add or remove the learning rules: what knowledge is made of conversations",
		Subcommands: []*cli.Command{
			{Name: "ls", Usage: "list the rules", Flags: common(), Action: a.listRules},
			{Name: "add", Usage: "add rules; a flag may be given several times", Flags: common(texts()...), Action: a.addRules},
			{Name: "rm", Usage: "remove rules, by number or by what they say", ArgsUsage: "[NUMBER ...]", Flags: common(texts()...), Action: a.removeRules},
		},
	}
}

// ruleResult is the JSON of the commands that change rules.
type ruleResult struct {
	Added   []string                `json:"added,omitempty"`
	Removed []string                `json:"removed,omitempty"`
	Rules   []postgres.LearningRule `json:"rules"`
}

func (a *app) listRules(c *cli.Context) error {
	ws, err := a.openKnownAlone(c)
	if err != nil {
		return err
	}
	defer ws.close()
	list, err := ws.LearningRules(c.Context, ws.org)
	if err != nil {
		return err
	}
	return a.result(ruleResult{Rules: list}, func(w io.Writer) { printRules(w, list) })
}

// openKnownAlone is openKnown for commands without operands.
func (a *app) openKnownAlone(c *cli.Context) (*workspace, error) {
	if err := noOperands(c); err != nil {
		return nil, err
	}
	return a.openKnown(c)
}

func printRules(w io.Writer, list []postgres.LearningRule) {
	if len(list) == 0 {
		fmt.Fprintln(w, "No rules: every conversation of a known customer is distilled.")
		return
	}
	var rows [][]string
	for _, r := range list {
		rows = append(rows, []string{strconv.FormatInt(r.ID, 10), string(r.Kind), r.Rule})
	}
	table(w, []string{"number", "kind", "rule"}, rows)
}

// namedRule is a rule as the command line has it.
type namedRule struct {
	kind postgres.RuleKind
	text string
}

func namedRules(c *cli.Context) ([]namedRule, error) {
	var list []namedRule
	for _, kind := range [...]postgres.RuleKind{postgres.RuleTopic, postgres.RuleKeyword, postgres.RuleInstruction} {
		for _, given := range c.StringSlice(string(kind)) {
			text := strings.Join(strings.Fields(record.CleanText(given)), " ")
			if text == "" {
				return nil, usagef("--%s is empty", kind)
			}
			if n := utf8.RuneCountInString(text); n > ruleWidth {
				return nil, usagef("--%s has %d characters; at most %d are taken", kind, n, ruleWidth)
			}
			list = append(list, namedRule{kind, text})
		}
	}
	return list, nil
}

func (a *app) addRules(c *cli.Context) error {
	named, err := namedRules(c)
	if err != nil {
		return err
	}
	if len(named) == 0 {
		return usagef("nothing to add: give --topic, --keyword or --instruction")
	}
	ws, err := a.openKnownAlone(c)
	if err != nil {
		return err
	}
	defer ws.close()
	var out ruleResult
	for _, r := range named {
		added, err := ws.AddLearningRule(c.Context, ws.org, r.kind, r.text)
		if err != nil {
			return err
		}
		if added {
			out.Added = append(out.Added, fmt.Sprintf("%s: %s", r.kind, r.text))
		}
	}
	return a.changedRules(c, ws, out)
}

func (a *app) removeRules(c *cli.Context) error {
	named, err := namedRules(c)
	if err != nil {
		return err
	}
	var ids []int64
	for _, arg := range c.Args().Slice() {
		n, err := strconv.ParseInt(arg, 10, 64)
		if err != nil || n < 1 {
			return usagef("%q is not a rule's number; see: haloingest rules ls", arg)
		}
		ids = append(ids, n)
	}
	if len(named)+len(ids) == 0 {
		return usagef("nothing to remove: give a number, --topic, --keyword or --instruction; see: haloingest rules ls")
	}
	ws, err := a.openKnown(c)
	if err != nil {
		return err
	}
	defer ws.close()
	var out ruleResult
	gone := func(r postgres.LearningRule, err error) error {
		if errors.Is(err, postgres.ErrNotFound) {
			return usagef("%w; see: haloingest rules ls --org %s", err, ws.org)
		}
		if err == nil {
			out.Removed = append(out.Removed, fmt.Sprintf("%s: %s", r.Kind, r.Rule))
		}
		return err
	}
	for _, id := range ids {
		if err := gone(ws.RemoveLearningRule(c.Context, ws.org, id)); err != nil {
			return err
		}
	}
	for _, r := range named {
		if err := gone(ws.RemoveLearningRuleText(c.Context, ws.org, r.kind, r.text)); err != nil {
			return err
		}
	}
	return a.changedRules(c, ws, out)
}

// changedRules says what was changed and what that does to the knowledge that is there.
func (a *app) changedRules(c *cli.Context, ws *workspace, out ruleResult) (err error) {
	if out.Rules, err = ws.LearningRules(c.Context, ws.org); err != nil {
		return err
	}
	return a.result(out, func(w io.Writer) {
		for _, text := range out.Added {
			fmt.Fprintf(w, "added %s\n", text)
		}
		for _, text := range out.Removed {
			fmt.Fprintf(w, "removed %s\n", text)
		}
		if len(out.Added)+len(out.Removed) == 0 {
			fmt.Fprintln(w, "It is there already; nothing was changed.")
			return
		}
		fmt.Fprintln(w)
		printRules(w, out.Rules)
		fmt.Fprintf(w, "\nFrom the next run on, what it reads is learned by these rules. To bring the knowledge that is there in line with them:\n"+
			"haloingest backfill --org %s --restart (or haloingest replay --remap from a snapshot, without Intercom)\n", ws.org)
	})
}
