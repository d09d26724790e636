package distill

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"haloingest/pipeline/record"
)

// made returns the distilled records of some kinds, each with its evidence.
func made(t *testing.T, state string, messages []record.Message, kinds ...string) (out []string) {
	t.Helper()
	row := conversation(messages...)
	row.Distill.State = state
	for _, r := range process(t, Config{}, row).Items[0].Knowledge {
		checkQuotes(t, row, r)
		for _, k := range kinds {
			if r.Kind != k {
				continue
			}
			_, why, _ := strings.Cut(string(r.Metadata), `"evidence":["`)
			why, _, _ = strings.Cut(why, `"]`)
			out = append(out, strings.TrimSpace(k+" "+why)+": "+r.Content)
		}
	}
	return out
}

func TestAClosedConversationIsSolvedOnlyIfTheLastWordLetsItBe(t *testing.T) {
	const problem = "My lamp model L-300 does not light."
	const advice = "Please restart the lamp and install version 2.1."
	for _, c := range []struct {
		name   string
		behind []record.Message // the problem
		want   string
	}{
		{"the customer denies it last", []record.Message{agent(advice), user("Not really, it is the same as before.")}, "open_issue customer wrote last: " + problem + "\nNot really, it is the same as before."},
		{"the customer asks last", []record.Message{agent(advice), user("So does that mean I get no new lamp?")}, "open_issue customer wrote last: " + problem + "\nSo does that mean I get no new lamp?"},
		{"the customer is angry last", []record.Message{agent(advice), user("This is a ridiculous lamp from a ridiculous company.")}, "open_issue customer wrote last: " + problem + "\nThis is a ridiculous lamp from a ridiculous company."},
		{"good news, taken back", []record.Message{agent(advice), user("That worked, great!"), agent("Good to hear."), user("Spoke too soon, the problem is back today."), agent("We have sent you a direct message.")}, "open_issue customer denies that it is solved: " + problem + "\nSpoke too soon, the problem is back today."},
		{"moved elsewhere", []record.Message{agent("Please send us a direct message, then we can take a look at your account.")}, "open_issue moved to another channel: " + problem},
		{"followed up elsewhere, with thanks", []record.Message{agent("We followed up via email."), user("Thank you")}, "open_issue moved to another channel: " + problem},
		{"put off", []record.Message{agent("Rest assured, a colleague will be in touch soon.")}, "open_issue put off: " + problem},
		{"asked, with help to answer", []record.Message{agent("Which version do you have? You'll see this in Settings > About.")}, "open_issue customer was asked: " + problem},
		{"asked without a question mark", []record.Message{agent("Please tell us which version of the lamp you have installed.")}, "open_issue customer was asked: " + problem},
		{"told to somebody, after a complaint", []record.Message{agent("Is it plugged in?"), user("Of course, this is ridiculous."), agent("I will share your feedback with our team.")}, "open_issue no sign that it is solved: " + problem},
		{"told to somebody, and no word against it", []record.Message{agent("I have passed this on to our engineers, who will repair it.")}, "resolution closed: I have passed this on to our engineers, who will repair it."},
		{"advice in the form of a question, unconfirmed", []record.Message{agent("Have you tried to restart the lamp?")}, "open_issue no sign that it is solved: " + problem},
		{"advice in the form of a question, confirmed", []record.Message{agent("Have you tried to restart the lamp?"), user("I restarted it and now it works again.")}, "resolution closed\",\"confirmed: Have you tried to restart the lamp?\nCustomer: I restarted it and now it works again."},
		{"no to one piece of advice, yes to the next", []record.Message{agent("Do you use a dimmer? If so, try it without."), user("Nope."), agent("Which country is the plug from?"), user("From Ireland. I changed the plug and it works now.")}, "resolution closed\",\"confirmed: Customer: I changed the plug and it works now."},
		{"good news behind a condition", []record.Message{agent("I have reset your lamp."), user("I got no word whether the problem has been solved.")}, "resolution closed: I have reset your lamp."},
		{"answered, and another question answered behind the thanks", []record.Message{agent("I have sent you a new lamp."), user("Thank you!"), agent("You're welcome."), user("Do you need my address?"), agent("No, all good.")}, "resolution closed\",\"thanked: I have sent you a new lamp."},
		{"a message in two parts", []record.Message{agent("Please unplug the lamp, wait a minute and then 1/2"), agent("plug it in again at another socket. 2/2")}, "resolution closed: Please unplug the lamp, wait a minute and then\nplug it in again at another socket."},
		{"German, moved elsewhere", []record.Message{agent("Bitte schreiben Sie uns eine Direktnachricht mit der Nummer der Lampe.")}, "open_issue moved to another channel: " + problem},
		{"French, put off", []record.Message{agent("Nous revenons vers vous dès que nous en savons plus.")}, "open_issue put off: " + problem},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := made(t, "closed", append([]record.Message{user(problem)}, c.behind...), record.KnowledgeResolution, record.KnowledgeOpenIssue)
			if diff := cmp.Diff([]string{c.want}, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAnAnswerAnswers(t *testing.T) {
	for _, c := range []struct {
		name            string
		question, reply string
		want            []string
	}{
		{"a statement", "Do you have the red lamp in stock?", "The red lamp is sold out until April.", []string{"qa: Q: Do you have the red lamp in stock?\nA: The red lamp is sold out until April."}},
		{"put off", "When will the lamp arrive?", "We will get back to you shortly.", nil},
		{"moved elsewhere", "When will the lamp arrive?", "Please send us a direct message for that.", nil},
		{"a question back", "When will the lamp arrive?", "May I have your order number?", nil},
		{"sympathy", "When will the lamp arrive?", "Four weeks is far too long to wait!", nil},
		{"a rhetorical question", "You call that a lamp?", "Please restart it and install version 2.1.", nil},
		{"an outcry", "What kind of company does this?!", "Please restart it and install version 2.1.", nil},
		{"what refers to the agent's own question", "Should the lamp not light for ten hours?", "Did it get hot? That can make it go out early.", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := made(t, "open", []record.Message{user("Hello team. " + c.question), agent(c.reply)}, record.KnowledgeQA)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAFactNamesSomething(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       bool
	}{
		{"an order", "The order is 88-1204-C.", true},
		{"a model", "It is an Acme Glow 3000.", true},
		{"a version", "It runs firmware 11.0.3 here.", true},
		{"a name with a number", "I use Windows 11 at home.", true},
		{"an amount", "I paid €49 for the lamp.", true},
		{"a date", "I bought the lamp on 12 March.", true},
		{"how long", "I waited 45 minutes on the line.", false},
		{"how many", "I called 14 times and nothing came of it.", false},
		{"a range of hours", "Other shops answer within 48-72 hours.", false},
		{"what the other side should do", "You should call me at 12 as promised.", false},
		{"anger", "This is the worst lamp since 1950.", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := made(t, "open", []record.Message{user("My lamp does not light since Monday."), agent("Sorry to hear that!"), user(c.text)}, record.KnowledgeFact)
			if (len(got) == 1) != c.want {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestTheProblemAndTheTitleSayWhatIsWrong(t *testing.T) {
	for _, c := range []struct{ name, text, later, problem, title string }{
		{"feelings first", "I have never been so disappointed. The lamp goes out every hour.", "It is red.", "The lamp goes out every hour.", "The lamp goes out every hour."},
		{"what changed, then at length what follows", "Since the update my lamp goes out every hour. Reading a book takes twice as long now because I have to stand up each time to switch it on again.", "Yes.", "Since the update my lamp goes out every hour.", "Since the update my lamp goes out every hour."},
		{"a long story later", "My lamp still goes out at night.", "When I first set it up I tried to connect it to the old router but nothing gets past the page that says error or waiting.", "My lamp still goes out at night.", "My lamp still goes out at night."},
		{"nothing said at first", "Hi, please help", "The lamp does not light any more.", "The lamp does not light any more.", "The lamp does not light any more."},
	} {
		t.Run(c.name, func(t *testing.T) {
			row := conversation(user(c.text), agent("Which lamp is it?"), user(c.later))
			for _, r := range process(t, Config{}, row).Items[0].Knowledge {
				if r.Title != c.title {
					t.Errorf("%s has the title %q", r.Kind, r.Title)
				}
				if r.Kind == record.KnowledgeProblem && r.Content != c.problem {
					t.Errorf("the problem is %q", r.Content)
				}
			}
		})
	}
}

func TestASummaryDoesNotRepeatAMacro(t *testing.T) {
	const macro = "Kindly be patient while the issue of your lamp is being looked into."
	got := made(t, "open", []record.Message{user("My lamp does not light."), agent(macro), user("Any news?"), agent(macro), user("Hello?"), agent(macro)}, record.KnowledgeSummary)
	if len(got) != 1 || strings.Count(got[0], macro) != 1 {
		t.Errorf("got %q", got)
	}
}

func TestLanguagesWithoutCuesSayOnWhatTheirRecordsRest(t *testing.T) {
	for _, c := range []struct {
		name, text, reply string
		want              bool
	}{
		{"English", "My lamp does not light and I do not know why.", "Please restart it.", false},
		{"Dutch", "De lamp gaat niet aan en ik weet niet waarom dat zo is.", "Start hem opnieuw.", false},
		{"too little to know", "Lamp broken", "Restart it", false},
		{"Finnish", "Lamppu lakkasi toimimasta eilen illalla eikä valo syty vieläkään uudella polttimolla.", "Kokeile kytkeä virta pois.", true},
		{"Greek", "Η λάμπα δεν ανάβει από χθες το βράδυ και δεν ξέρω τον λόγο.", "Επανεκκινήστε τη λάμπα.", true},
		{"Japanese", "昨日の夜からランプがつきません。", "電源を入れ直してください。", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := 0
			for _, r := range process(t, Config{}, conversation(user(c.text), agent(c.reply))).Items[0].Knowledge {
				if r.Kind == record.KnowledgeParent || r.Kind == record.KnowledgeChild {
					continue
				}
				n++
				if got := strings.HasPrefix(string(r.Metadata), `{"basis":"position and length",`); got != c.want {
					t.Errorf("%s has the metadata %s", r.Kind, r.Metadata)
				}
			}
			if n == 0 {
				t.Error("nothing is distilled")
			}
		})
	}
}
