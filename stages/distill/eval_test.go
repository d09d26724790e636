package distill

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"haloingest/pipeline/record"
)

// dialogue is a line of the TweetSumm data, which is no part of the project; see TestQualityOnDialogues.
type dialogue struct {
	ID    string `json:"conversation_id"`
	Turns []struct {
		ID   int64  `json:"tweet_id"`
		Role string `json:"role"`
		Text string `json:"text"`
	} `json:"turns"`
	Annotations []struct {
		Abstractive []string `json:"abstractive"`
	} `json:"annotations"`
}

func (d *dialogue) transcript() *record.TranscriptRow {
	t := &record.TranscriptRow{
		Head:      record.Head{SourceID: d.ID, SourceUpdatedAt: time.Unix(1_700_000_000, 0).UTC()},
		ContactID: "c1", Distill: record.DistillInput{State: "open"},
	}
	for i, turn := range d.Turns {
		m := record.Message{ID: fmt.Sprint(turn.ID), Speaker: record.SpeakerUser, Kind: "comment", Text: turn.Text}
		if turn.Role == "agent" {
			m.Speaker = record.SpeakerAgent
		}
		if i == 0 {
			m.Kind = record.MessageSource
		}
		t.Messages = append(t.Messages, m)
	}
	return t
}

// references are the summaries that people wrote.
func (d *dialogue) references() []string {
	var refs []string
	for _, a := range d.Annotations {
		if text := strings.Join(a.Abstractive, " "); strings.TrimSpace(text) != "" {
			refs = append(refs, text)
		}
	}
	return refs
}

// sentences are those of the plain text, in order, with the speaker's role: the data's own offsets do
// not fit all of its texts.
func (d *dialogue) sentences() (text, role []string) {
	for _, t := range d.Turns {
		for _, s := range appendSentences(nil, t.Text, 0, len(t.Text)) {
			text = append(text, t.Text[s.Start:s.End])
			role = append(role, t.Role)
		}
	}
	return text, role
}

// evalData is where `make eval DATA=…` looks: a folder of parts (*.jsonl), or one part.
const evalData = "HALOINGEST_EVAL_DATA"

// parts are the files of the data, by name. Without the variable they are those beside the repository, if they are there.
func parts(t testing.TB) []string {
	at := os.Getenv(evalData)
	if at == "" {
		at = filepath.Join("..", "..", "..", "shared", "data", "tweetsumm")
		if _, err := os.Stat(at); errors.Is(err, fs.ErrNotExist) {
			t.Skipf("%s is not here: real dialogues are not part of the project; name a folder with %s", at, evalData)
		}
	}
	if strings.HasSuffix(at, ".jsonl") {
		return []string{at}
	}
	list, err := filepath.Glob(filepath.Join(at, "*.jsonl"))
	if err != nil || len(list) == 0 {
		t.Fatalf("%s: there is no *.jsonl in %s (%v)", evalData, at, err)
	}
	return list
}

func readDialogues(t testing.TB, path string) []dialogue {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []dialogue
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var d dialogue
		if err := json.Unmarshal(lines.Bytes(), &d); err != nil {
			t.Fatal(err)
		}
		all = append(all, d)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// summarize runs the stage and returns the text of the summary record.
func summarize(t testing.TB, s *Stage, d *dialogue) string {
	in := []record.Change{{Kind: record.KindConversation, Transcript: d.transcript()}}
	if _, err := s.Process(context.Background(), in); err != nil {
		t.Fatal(err)
	}
	for _, r := range in[0].Knowledge {
		if r.Kind == record.KnowledgeSummary {
			return r.Content
		}
	}
	return ""
}

type score struct{ r1, r2, rl float64 }

func rougeWords(s string) []string {
	return strings.FieldsFunc(strings.ToLower(s), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
}

// rouge is the mean F1 over the references of unigrams, bigrams and the longest common subsequence.
func rouge(text string, references []string) score {
	have := rougeWords(text)
	var s score
	for _, ref := range references {
		want := rougeWords(ref)
		s.r1 += ngramF1(have, want, 1)
		s.r2 += ngramF1(have, want, 2)
		s.rl += f1(commonSubsequence(have, want), len(have), len(want))
	}
	n := float64(len(references))
	return score{s.r1 / n, s.r2 / n, s.rl / n}
}

func ngramF1(have, want []string, n int) float64 {
	count := map[string]int{}
	for i := 0; i+n <= len(want); i++ {
		count[strings.Join(want[i:i+n], " ")]++
	}
	same := 0
	for i := 0; i+n <= len(have); i++ {
		if g := strings.Join(have[i:i+n], " "); count[g] > 0 {
			count[g]--
			same++
		}
	}
	return f1(same, max(len(have)-n+1, 0), max(len(want)-n+1, 0))
}

func f1(same, have, want int) float64 {
	if same == 0 {
		return 0
	}
	return 2 * float64(same) / float64(have+want)
}

func commonSubsequence(a, b []string) int {
	row := make([]int, len(b)+1)
	for i := range a {
		diagonal := 0
		for j := range b {
			up := row[j+1]
			if a[i] == b[j] {
				row[j+1] = diagonal + 1
			} else {
				row[j+1] = max(up, row[j])
			}
			diagonal = up
		}
	}
	return row[len(b)]
}

func TestROUGEOfHandComputedCases(t *testing.T) {
	for _, c := range []struct {
		name, text, ref string
		want            score
	}{
		{"equal texts score one", "The app crashes.", "the app crashes", score{1, 1, 1}},
		{"no common word scores nothing", "red", "blue", score{}},
		// 3 of 4 and 3 of 5 words; bigrams "a b" of 3 and 4; subsequence a b d
		{"a partial match", "a b c d", "a b x d y", score{6.0 / 9, 2.0 / 7, 6.0 / 9}},
		{"a repeated word counts as often as in the reference", "a a a", "a", score{2.0 / 4, 0, 2.0 / 4}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := rouge(c.text, []string{c.ref})
			for _, p := range [][2]float64{{got.r1, c.want.r1}, {got.r2, c.want.r2}, {got.rl, c.want.rl}} {
				if d := p[0] - p[1]; d > 1e-12 || d < -1e-12 {
					t.Fatalf("got %+v, want %+v", got, c.want)
				}
			}
		})
	}
}

func firstAndLast(d *dialogue) string {
	text, role := d.sentences()
	var customer, agent []string
	for i := range text {
		if role[i] == "customer" && len(customer) < 2 {
			customer = append(customer, text[i])
		}
		if j := len(text) - 1 - i; role[j] == "agent" && len(agent) < 2 {
			agent = append(agent, text[j])
		}
	}
	slices.Reverse(agent)
	return strings.Join(append(customer, agent...), " ")
}

// firstAndLastCleaned is the same with cleaning: the noise is trimmed and small talk passed over.
func firstAndLastCleaned(d *dialogue) string {
	var c Conversation
	var a analysis
	readConversation(&c, d.transcript(), nil)
	a.read(&c)
	var customer, agent []string
	for i := range a.sentences {
		if s := &a.sentences[i]; !s.agent && s.substantive() && len(customer) < 2 {
			customer = append(customer, a.text(s))
		}
		if s := &a.sentences[len(a.sentences)-1-i]; s.agent && s.substantive() && len(agent) < 2 {
			agent = append(agent, a.text(s))
		}
	}
	slices.Reverse(agent)
	return strings.Join(append(customer, agent...), " ")
}
