package intercomtest

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The dialogues of the tests are made up, in the shape of the corpus.
const someDialogs = `
{"conversation_id":"d1","turns":[{"tweet_id":11,"role":"customer","text":"@LampShopHelp my lamp hums & flickers <badly>"},{"tweet_id":12,"role":"agent","text":"@700123 Sorry to hear! Which model? ^AB"},{"tweet_id":13,"role":"customer","text":"The tall one\nfrom spring"}]}

{"conversation_id":"d2","turns":[{"tweet_id":21,"role":"customer","text":"lampshophelp still no answer"},{"tweet_id":22,"role":"agent","text":"@700123 We are on it ^AB"}]}
{"conversation_id":"d3","turns":[{"tweet_id":31,"role":"customer","text":"hello? anybody there"},{"tweet_id":32,"role":"agent","text":"Here we are /JD"}]}
{"conversation_id":"d4","turns":[{"tweet_id":41,"role":"customer","text":"@555000 my parcel is late"}]}
{"conversation_id":"d5","turns":[{"tweet_id":51,"role":"agent","text":"@700999 how was the tea?"},{"tweet_id":52,"role":"customer","text":"@TeaHouse lovely"}]}
`

func TestDialoguesBecomeAWorkspace(t *testing.T) {
	dialogs, err := ReadDialogs(strings.NewReader(someDialogs))
	if err != nil {
		t.Fatal(err)
	}
	s := Start(t, Options{Dialogs: dialogs})
	c := s.Ledger().Counts()
	if c.Conversations != 5 || c.Contacts != 4 || c.Companies != 4 || c.Tickets != 0 {
		t.Errorf("counts %+v", c)
	}
	var brands []string
	for k := range s.Ledger().Companies() {
		brands = append(brands, k.Name)
	}
	if diff := cmp.Diff([]string{"LampShopHelp", "Agent JD", "555000", "TeaHouse"}, brands); diff != "" {
		t.Error(diff)
	}
	type line struct{ Speaker, Text string }
	got := map[string][]line{}
	people := map[string]string{}
	for conv := range s.Ledger().Conversations() {
		people[conv.DialogID] = conv.Contacts[0]
		for _, m := range conv.Messages {
			if m.HasText {
				got[conv.DialogID] = append(got[conv.DialogID], line{m.AuthorType, m.Text})
			}
		}
		o := get(t, s, "/conversations/"+conv.ID).json
		if o["custom_attributes"].(map[string]any)["dialog_id"] != conv.DialogID {
			t.Errorf("dialog_id %v", o["custom_attributes"])
		}
		if o["company"].(map[string]any)["id"] != conv.Company {
			t.Errorf("company %v, ledger %s", o["company"], conv.Company)
		}
	}
	if people["d1"] != people["d2"] || people["d1"] == people["d3"] {
		t.Errorf("authors: %v", people)
	}
	want := []line{{"user", "@LampShopHelp my lamp hums & flickers <badly>"}, {"admin", "@700123 Sorry to hear! Which model? ^AB"}, {"user", "The tall one\nfrom spring"}}
	if diff := cmp.Diff(want, got["d1"]); diff != "" {
		t.Error(diff)
	}
	if got["d5"][0].Speaker != "admin" {
		t.Errorf("d5 begins with %v", got["d5"][0])
	}
	parts := get(t, s, "/conversations/"+livingIDs(s.Workspace, Conversations)[0]).json["conversation_parts"].(map[string]any)["conversation_parts"].([]any)
	if first := parts[0].(map[string]any); first["external_id"] != "12" {
		t.Errorf("the id of the message is lost: %v", first["external_id"])
	}
	if r := get(t, s, "/contacts/find_by_external_id/x_700123"); fmt.Sprint(r.json["id"]) != people["d1"] {
		t.Errorf("by handle: %d %v", r.status, r.json["id"])
	}
	checkStory(t, s)
	sameSet(t, "contacts", walkAll(t, s, "/contacts?per_page=2", ""), livingIDs(s.Workspace, Contacts))
	if _, err := s.Reply(livingIDs(s.Workspace, Conversations)[3], "user", "Hello?"); err != nil {
		t.Error(err)
	}
	if _, err := s.CreateConversation(people["d1"], "Once more"); err != nil {
		t.Error(err)
	}
	if _, err := s.CreateContact(map[string]any{"email": "new@example.com"}); err != nil {
		t.Error(err)
	}
	checkStory(t, s)
}

func TestADialogueMayBeServedMoreThanOnce(t *testing.T) {
	dialogs, err := ReadDialogs(strings.NewReader(someDialogs))
	if err != nil {
		t.Fatal(err)
	}
	s := Start(t, Options{Dialogs: dialogs, Conversations: 12})
	if n := len(livingIDs(s.Workspace, Conversations)); n != 12 {
		t.Errorf("%d conversations", n)
	}
	checkStory(t, s)
}

func TestFilesThatHoldNoDialoguesAreRefused(t *testing.T) {
	for name, text := range map[string]string{
		"nothing": "\n\n", "no JSON": "hello", "no turns": `{"conversation_id":"x"}`, "another role": `{"turns":[{"role":"boss","text":"x"}]}`,
	} {
		if _, err := ReadDialogs(strings.NewReader(text)); err == nil {
			t.Errorf("%s: no error", name)
		} else if name != "nothing" && !strings.Contains(err.Error(), "line 1") {
			t.Errorf("%s: the line is not named: %v", name, err)
		}
	}
}

// TestRealDialogues runs where the corpus is present; it is no part of the repository.
func TestRealDialogues(t *testing.T) {
	const name = "../../../../shared/data/tweetsumm/valid.jsonl"
	f, err := os.Open(name)
	if err != nil {
		t.Skipf("the corpus %s is not present", name)
	}
	defer f.Close()
	dialogs, err := ReadDialogs(f)
	if err != nil {
		t.Fatal(err)
	}
	s := Start(t, Options{Dialogs: dialogs})
	turns, messages := 0, 0
	for _, d := range dialogs {
		turns += len(d.Turns)
	}
	for c := range s.Ledger().Conversations() {
		for _, m := range c.Messages {
			if m.HasText {
				messages++
			}
		}
	}
	c := s.Ledger().Counts()
	if messages != turns || c.Conversations != len(dialogs) || c.Contacts < 10 || c.Companies < 10 {
		t.Errorf("%d messages of %d turns, %+v", messages, turns, c)
	}
	checkStory(t, s)
}
