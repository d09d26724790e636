package distill

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"haloingest/pipeline/record"
)

// measured is what a method reaches: a score for each dialogue, in percent.
type measured struct {
	name   string
	scores []score
	words  int
}

func (m *measured) mean() (s score) {
	for _, x := range m.scores {
		s.r1, s.r2, s.rl = s.r1+x.r1, s.r2+x.r2, s.rl+x.rl
	}
	n := float64(len(m.scores))
	return score{s.r1 / n, s.r2 / n, s.rl / n}
}

// TestQualityOnDialogues compares summaries of real dialogues with those of people, and the distiller with simple methods.
// `make eval` prints it.
func TestQualityOnDialogues(t *testing.T) {
	for _, path := range parts(t) {
		t.Run(partName(path), func(t *testing.T) {
			all := slices.DeleteFunc(readDialogues(t, path), func(d dialogue) bool { return len(d.references()) == 0 })
			stage := New(Config{})
			ours := func(d *dialogue) string { return summarize(t, stage, d) }
			methods := []struct {
				name string
				make func(*dialogue) string
			}{
				{"distiller", ours},
				{"LEAD-4", lead4},
				{"LONGEST-3", longest3},
				{"LexRank-4", newLexRank(all).summary},
				{"first 2 customer + last 2 agent", firstAndLast},
				{"the same, cleaned", firstAndLastCleaned},
			}
			var results []measured
			for _, m := range methods {
				r := measured{name: m.name}
				for i := range all {
					text := m.make(&all[i])
					s := rouge(text, all[i].references())
					r.scores = append(r.scores, score{100 * s.r1, 100 * s.r2, 100 * s.rl})
					r.words += len(strings.Fields(text))
				}
				results = append(results, r)
			}
			t.Logf("%d dialogues; ROUGE F1 against the summaries of people, mean over them; in brackets what the distiller has more of ROUGE-1, with its 95 %% interval", len(all))
			for i := range results {
				m, mean := &results[i], results[i].mean()
				line := "%-32s R1 %4.1f  R2 %4.1f  RL %4.1f  %2d words"
				args := []any{m.name, mean.r1, mean.r2, mean.rl, m.words / len(all)}
				if i > 0 {
					more := bootstrap(differences(results[0].scores, m.scores))
					line += "  [%+.1f: %+.1f to %+.1f]"
					args = append(args, more.mean, more.low, more.high)
				}
				t.Logf(line, args...)
			}
			got, bar := results[0].mean(), results[5].mean()
			if got.r1 < bar.r1 || got.r2 < bar.r2 || got.rl < bar.rl {
				t.Errorf("the distiller's %+v is below the simple rule's %+v, cleaned as it is", got, bar)
			}
			for i := 1; i < 5; i++ {
				if more := bootstrap(differences(results[0].scores, results[i].scores)); more.low <= 0 && len(all) >= 50 {
					t.Errorf("the distiller may be no better than %s: %+v", results[i].name, more)
				}
			}
			decisions(t, stage, all)
			speed(t, stage, all)
		})
	}
}

func partName(path string) string {
	name := path[strings.LastIndexAny(path, `/\`)+1:]
	return strings.TrimSuffix(name, ".jsonl")
}

func differences(a, b []score) []float64 {
	d := make([]float64, len(a))
	for i := range a {
		d[i] = a[i].r1 - b[i].r1
	}
	return d
}

// The data has no labels of what was solved, and people's summaries of it seldom tell. So judged are the dialogues in which the customer's
// last words leave no doubt. The patterns are not the distiller's cues.
var (
	saysWorks = regexp.MustCompile(`(?i)\b((it|that|this)( has|'s|’s| is)? (worked|working( now| again)?|fixed( it| now)?|did the trick|solved it|sorted( now| it)?)|(is|are|all|now) (working|fixed|sorted|resolved|solved)( now| again)?|works (now|again|fine|perfectly)|problem solved|got it (working|fixed|sorted))\b`)
	saysFails = regexp.MustCompile(`(?i)\b(still (not|no|does|doesn|isn|can|cannot|won|the same|having|getting|waiting|broken|nothing)|(did|does|do|has|have|is|are|can|could)( not|n['’]?t) (work|help|fix|solve|load|connect|working)|no luck|same (issue|problem|error|thing)|nothing (works|worked|helps|helped|has changed)|not (working|fixed|resolved|solved)|worse)\b`)
)

// decisions prints how the distiller judges outcomes where nothing is known but the words, as an open conversation has it.
func decisions(t *testing.T, stage *Stage, all []dialogue) {
	var solved, open, none int
	var works, worksRight, fails, failsRight int
	for i := range all {
		kinds := kindsOf(t, stage, &all[i])
		resolved := kinds[record.KnowledgeResolution]
		switch {
		case resolved && kinds[record.KnowledgeOpenIssue]:
			t.Errorf("%s is both solved and open", all[i].ID)
		case resolved:
			solved++
		case kinds[record.KnowledgeOpenIssue]:
			open++
		default:
			none++
		}
		last := ""
		for k, turn := range all[i].Turns {
			if turn.Role == "customer" && k > 0 {
				last = turn.Text
			}
		}
		says, denies := saysWorks.MatchString(last), saysFails.MatchString(last)
		switch {
		case says == denies:
		case says:
			works++
			worksRight += b2i(resolved)
		default:
			fails++
			failsRight += b2i(!resolved)
		}
	}
	t.Logf("decisions from words alone: %d resolved, %d open, %d without a problem; where the customer's last words say that it works, %d of %d are called resolved; where they say that it fails, %d of %d are called open",
		solved, open, none, worksRight, works, failsRight, fails)
	if len(all) >= 50 && ratio(failsRight, fails) < 0.8 {
		t.Errorf("what fails is called resolved in %d of %d dialogues", fails-failsRight, fails)
	}
}

func ratio(a, b int) float64 {
	if b == 0 {
		return 0
	}
	return float64(a) / float64(b)
}

func kindsOf(t testing.TB, stage *Stage, d *dialogue) map[string]bool {
	in := []record.Change{{Kind: record.KindConversation, Transcript: d.transcript()}}
	if _, err := stage.Process(context.Background(), in); err != nil {
		t.Fatal(err)
	}
	kinds := map[string]bool{}
	for _, r := range in[0].Knowledge {
		kinds[r.Kind] = true
	}
	return kinds
}

// speed prints how many conversations the whole stage takes in a second of one core's time.
func speed(t *testing.T, stage *Stage, all []dialogue) {
	changes := make([]record.Change, len(all))
	for i := range all {
		changes[i] = record.Change{Kind: record.KindConversation, Transcript: all[i].transcript()}
	}
	n := 0
	begin, spent := time.Now(), processorTime(t)
	for time.Since(begin) < time.Second {
		for i := range changes {
			changes[i].Knowledge = nil
		}
		if _, err := stage.Process(context.Background(), changes); err != nil {
			t.Fatal(err)
		}
		n += len(changes)
	}
	spent = processorTime(t) - spent
	t.Logf("speed: %.0f conversations a second and core (%d in %.2f s of processor time, garbage collection included)", float64(n)/spent.Seconds(), n, spent.Seconds())
}

func processorTime(t *testing.T) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func TestBootstrapOfHandMadeCases(t *testing.T) {
	if got := bootstrap([]float64{2, 2, 2, 2}); got != (interval{2, 2, 2}) {
		t.Errorf("equal differences: %+v", got)
	}
	// 50 times -1 and 50 times +3: mean 1, deviation 2, so the mean's is 0.2 and the interval about 1 ± 0.39.
	var d []float64
	for range 50 {
		d = append(d, -1, 3)
	}
	got := bootstrap(d)
	if got.mean != 1 || got.low < 0.5 || got.low > 0.72 || got.high < 1.28 || got.high > 1.5 {
		t.Errorf("two values: %+v", got)
	}
}

func TestSimpleMethodsOfHandMadeDialogues(t *testing.T) {
	var d dialogue
	for _, text := range []string{"One two three. Four.", "Five six seven eight nine. Ten eleven.", "Twelve thirteen fourteen fifteen."} {
		d.Turns = append(d.Turns, struct {
			ID   int64  `json:"tweet_id"`
			Role string `json:"role"`
			Text string `json:"text"`
		}{Role: "customer", Text: text})
	}
	if got := lead4(&d); got != "One two three. Four. Five six seven eight nine. Ten eleven." {
		t.Errorf("LEAD-4: %s", got)
	}
	if got := longest3(&d); got != "One two three. Five six seven eight nine. Twelve thirteen fourteen fifteen." {
		t.Errorf("LONGEST-3: %s", got)
	}
	// Three sentences share a word with a fourth and none with each other: the walk gathers there. Those that share nothing keep
	// what they have, which is more than is left to the three.
	d.Turns = d.Turns[:0]
	for _, text := range []string{"Alpha one.", "Beta two.", "Red apples.", "Green pears.", "Blue plums.", "Gamma three.", "Delta four.", "Red green blue."} {
		d.Turns = append(d.Turns, struct {
			ID   int64  `json:"tweet_id"`
			Role string `json:"role"`
			Text string `json:"text"`
		}{Role: "customer", Text: text})
	}
	if got, want := newLexRank([]dialogue{d}).summary(&d), "Alpha one. Beta two. Gamma three. Red green blue."; got != want {
		t.Errorf("LexRank-4: %s", got)
	}
}
