package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"
)

// Every flag --some-flag is HALOINGEST_SOME_FLAG, on every command, and a flag wins over its variable.
func TestEveryFlagIsAVariable(t *testing.T) {
	for name, leaf := range leaves() {
		for _, flag := range leaf.Flags {
			long := flag.Names()[0]
			variable := "HALOINGEST_" + strings.ToUpper(strings.ReplaceAll(long, "-", "_"))
			fromVariable, fromFlag := "text-of-variable", "text-of-flag"
			switch flag.(type) {
			case *cli.StringFlag, *cli.StringSliceFlag:
			case *cli.BoolFlag:
				fromVariable, fromFlag = "true", "false"
			case *cli.IntFlag:
				fromVariable, fromFlag = "17", "18"
			case *cli.DurationFlag:
				fromVariable, fromFlag = "17m0s", "18m0s"
			default:
				t.Fatalf("%s --%s: a type of flag that this test does not know: %T", name, long, flag)
			}
			t.Run(name+" --"+long, func(t *testing.T) {
				t.Setenv(variable, fromVariable)
				if got := seenBy(t, name, long); got != fromVariable {
					t.Errorf("%s=%s: the command sees %q", variable, fromVariable, got)
				}
				if got := seenBy(t, name, long, "--"+long+"="+fromFlag); got != fromFlag {
					t.Errorf("%s=%s --%s=%s: the command sees %q", variable, fromVariable, long, fromFlag, got)
				}
			})
		}
	}
}

// seenBy runs a command whose action is replaced, and returns the value of its flag.
func seenBy(t *testing.T, command, flag string, args ...string) (got string) {
	t.Helper()
	words := strings.Fields(command)
	root := (&app{stdin: strings.NewReader(""), stdout: new(bytes.Buffer), stderr: new(bytes.Buffer)}).cli()
	leaf := find(root.Commands, words[0])
	if len(words) > 1 {
		leaf = find(leaf.Subcommands, words[1])
	}
	leaf.Action = func(c *cli.Context) error {
		got = fmt.Sprint(c.Value(flag))
		if list := c.StringSlice(flag); list != nil {
			got = strings.Join(list, "|")
		}
		return nil
	}
	line := append(words, args...)
	if err := root.RunContext(context.Background(), append([]string{"haloingest"}, permute(root, line)...)); err != nil {
		t.Fatalf("%v: %v", line, err)
	}
	return got
}

func TestFlagsMayComeAfterTheWords(t *testing.T) {
	t.Parallel()
	root := (&app{}).cli()
	for line, want := range map[string]string{
		"":                                    "",
		"status --org X":                      "status --org X",
		"rejects show 7 --org X":              "rejects show --org X -- 7",
		"rejects show --org X 7 --json":       "rejects show --org X --json -- 7",
		"rejects retry 7 --org=X 8 --json 9":  "rejects retry --org=X --json -- 7 8 9",
		"rejects retry 7 -- --org 8":          "rejects retry -- 7 --org 8",
		"connect --token-file - --org X":      "connect --token-file - --org X",
		"connect -org X --token-file - extra": "connect -org X --token-file - -- extra",
		"rejects show 7 --org":                "rejects show --org -- 7",
		"status --nonsense 5":                 "status --nonsense -- 5",
		"--version":                           "--version",
		"help":                                "--help",
		"help rejects show":                   "rejects show --help",
		"nonsense --org X":                    "nonsense --org X",
		"--json rejects ls --org X":           "rejects ls --json --org X",
		"--org X status":                      "status --org X",
		"rejects --org X show 7":              "rejects show --org X -- 7",
		"--nonsense":                          "--nonsense",
	} {
		got := strings.Join(permute(root, strings.Fields(line)), " ")
		if got != want {
			t.Errorf("%q becomes %q, want %q", line, got, want)
		}
	}
}

func TestJSONIsWantedBeforeTheLineIsParsed(t *testing.T) {
	for line, want := range map[string]bool{
		"status --json":        true,
		"status -json --org X": true,
		"status --json=true":   true,
		"status --json=false":  false,
		"status --jso":         false,
		"rejects show -- json": false,
		"status -- --json":     false,
	} {
		if got := wantsJSON(strings.Fields(line)); got != want {
			t.Errorf("%q: %v", line, got)
		}
	}
	t.Setenv("HALOINGEST_JSON", "1")
	if !wantsJSON(nil) {
		t.Error("HALOINGEST_JSON=1 is not seen")
	}
}

// A span begins at a full hour or day, so that the same command a little later is the same run.
func TestSinceIsATimeADateOrASpan(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 5, 14, 35, 10, 0, time.FixedZone("", 2*3600)) // 12:35:10 UTC
	for text, want := range map[string]string{
		"":                          "0001-01-01T00:00:00Z",
		" 2026-01-31 ":              "2026-01-31T00:00:00Z",
		"2026-01-31T12:00:00Z":      "2026-01-31T12:00:00Z",
		"2026-01-31T12:00:00+02:00": "2026-01-31T10:00:00Z",
		"2026-01-31T12:00:00":       "2026-01-31T12:00:00Z",
		"2026-01-31 12:00:00":       "2026-01-31T12:00:00Z",
		"72h":                       "2026-03-02T12:00:00Z",
		"90m":                       "2026-03-05T11:00:00Z",
		"0s":                        "2026-03-05T12:00:00Z",
		"30d":                       "2026-02-03T00:00:00Z",
		"0d":                        "2026-03-05T00:00:00Z",
		"2026-03-05T12:35:11Z":      "is in the future",
		"2027-01-01":                "is in the future",
		"1999-12-31":                "long before there was an Intercom",
		"12000d":                    "long before there was an Intercom",
		"999999999999d":             "cannot read",
		"-3d":                       "cannot read",
		"-3h":                       "cannot read",
		"3.5d":                      "cannot read",
		"d":                         "cannot read",
		"3 d":                       "cannot read",
		"2026-02-30":                "cannot read",
		"01/02/2026":                "cannot read",
		"yesterday":                 "cannot read",
		"1767225600":                "2026-01-01T00:00:00Z",
		"1867225600":                "is in the future",
		"7":                         "long before there was an Intercom",
	} {
		var got string
		root := &cli.App{Flags: []cli.Flag{&cli.StringFlag{Name: "since"}}, Action: func(c *cli.Context) error {
			at, err := since(c, now)
			if err != nil {
				got = err.Error()
				if exitCode(err) != exitUsage {
					t.Errorf("%q: code %d", text, exitCode(err))
				}
				return nil
			}
			got = at.Format(time.RFC3339)
			return nil
		}}
		if err := root.Run([]string{"x", "--since=" + text}); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(got, want) {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}

func TestOnlyNamesStreams(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"":                              nil,
		"contacts":                      {"contacts"},
		"tickets, companies":            {"companies", "tickets"},
		"tickets,tickets,conversations": {"conversations", "tickets"},
		"contacts,,tickets,":            {"contacts", "tickets"},
		",":                             {"error"},
		" ":                             {"error"},
		"contact":                       {"error"},
		"Contacts":                      {"error"},
	} {
		var got []string
		root := &cli.App{Flags: []cli.Flag{&cli.StringFlag{Name: "only"}}, Action: func(c *cli.Context) error {
			list, err := kinds(c)
			if err != nil {
				got = []string{"error"}
			}
			for _, kind := range list {
				got = append(got, kind.Stream())
			}
			return nil
		}}
		if err := root.Run([]string{"x", "--only=" + text}); err != nil {
			t.Fatal(err)
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
}
