package intercomtest

// topic is what one generated conversation is about. Sentences may hold slots
// in braces, filled in once per conversation so that a dialogue keeps talking
// about the same order, amount or error. Everything here was written for this
// simulator.
type topic struct {
	name     string
	tag      string
	subjects []string
	opening  []string // the customer's first sentence
	detail   []string // the customer tells more
	question []string // the agent asks
	answer   []string // the customer answers
	fix      []string // the agent proposes
	result   []string // the customer reports
	closing  []string // the agent's last words
	note     []string // agents among themselves
}

func topics() []topic {
	return append(productTopics(), accountTopics()...)
}

func productTopics() []topic {
	return []topic{
		{
			name: "export", tag: "bug",
			subjects: []string{"Export stays empty", "CSV export broken since {date}", "Problem with the {feature} export"},
			opening: []string{
				"Since {date} the CSV export of {feature} only gives me a file with the header row.",
				"The {feature} export has been running for over {n} hours and never finishes.",
				"My export from {feature} stops with error {code} every single time.",
			},
			detail: []string{
				"I tried Chrome and Firefox on {device} and it is the same in both.",
				"The filter is set to the last {n} months, about 40,000 rows I would guess.",
				"Smaller ranges work, it only fails when I take everything at once.",
				"My colleague on the same plan does not have this problem at all.",
				"We need the file for our accountant, so this is a bit urgent.",
			},
			question: []string{
				"Could you tell me which date range you selected and how many columns you had switched on?",
				"Do you see the error straight away, or only after the progress bar has moved for a while?",
				"Is the archive option ticked in the export dialog?",
			},
			answer: []string{
				"The range was January to {date}, with all columns on.",
				"It runs for about {n} minutes and then the message {code} comes up.",
				"Yes, the archive option is on, I never touched it.",
			},
			fix: []string{
				"Exports over 25,000 rows are built in the background now, and you get the link by e-mail when the file is ready.",
				"Please untick the archive option and start the export again; archived rows made the job run out of time.",
				"I have raised the limit for your workspace and restarted job {order} for you.",
				"As a workaround you can export month by month and put the files together.",
			},
			result: []string{
				"That did it, the file is here and it has all {n} sheets.",
				"The mail arrived after ten minutes, the numbers look right to me.",
				"Now it gets further, but the last column is still empty.",
			},
			closing: []string{
				"Glad to hear the export works again, and sorry for the detour.",
				"I have put the limit on our list so that the dialog says so next time.",
			},
			note: []string{
				"Job {order} died with {code}, third customer this week. Linked to the tracker.",
				"Workspace has archived rows since 2019, that is why the query is slow.",
			},
		},
		{
			name: "shipping", tag: "delivery",
			subjects: []string{"Where is order {order}?", "Parcel not delivered", "Order {order} arrived damaged"},
			opening: []string{
				"My order {order} was supposed to arrive on {date} and there is no sign of it.",
				"The tracking of {order} has said \"in transit\" for {n} days now.",
				"The parcel for order {order} came today, but one of the boxes was crushed.",
			},
			detail: []string{
				"I was at home the whole day and nobody rang the bell.",
				"The neighbours do not have it either, I asked at three doors.",
				"It is a birthday present, so I am getting a little nervous.",
				"The carrier's hotline only plays music & then hangs up.",
				"I can send you photos of the box if that helps.",
			},
			question: []string{
				"Could you please confirm the delivery address and the name on the doorbell?",
				"Did the driver leave a card, perhaps with a collection point on it?",
				"Would you rather have a replacement sent out, or your money back?",
			},
			answer: []string{
				"The address is still the same as last time, number {n} in the back building.",
				"No card, nothing in the letter box, nothing in the app.",
				"A replacement would be great, as long as it is here before {date}.",
			},
			fix: []string{
				"I have opened a search with the carrier under number {order}; they have to answer within two working days.",
				"A new parcel leaves our warehouse tonight, and you do not have to send the old one back.",
				"I have refunded {amount} to the card you paid with, which takes three to five days to show.",
				"The parcel is waiting at the collection point in the station until {date}, please bring an ID.",
			},
			result: []string{
				"Found it at the collection point, thank you!",
				"The replacement came this morning and everything is in one piece.",
				"Still nothing, and the tracking page has not changed.",
			},
			closing: []string{
				"Enjoy it, and write to us any time if something is missing.",
				"Thank you for your patience with our carrier.",
			},
			note: []string{
				"Carrier lost a whole pallet on {date}, refund without asking if it is under {amount}.",
				"Customer has had two lost parcels this year, please send with signature from now on.",
			},
		},
		{
			name: "integration", tag: "api",
			subjects: []string{"API returns {code}", "Webhook stopped firing", "Sync with {feature} is stuck"},
			opening: []string{
				"Our webhook endpoint has not been called since {date}, although nothing changed on our side.",
				"We get {code} from the API on roughly every tenth request since this morning.",
				"The sync with {feature} shows as connected, but no new records come through.",
			},
			detail: []string{
				"The request id of one failed call is {order}, in case you can look it up.",
				"Our endpoint answers in 80 ms and returns 200, I checked the logs twice.",
				"We run version 4.{n} of your client library on {device}.",
				"Retrying after a second works most of the time.",
				"About 1,{n}00 records are waiting on our side by now.",
			},
			question: []string{
				"Could you send me the request id and the time, with the time zone, of one failed call?",
				"Has the certificate of your endpoint been renewed lately?",
				"Which token does the sync use, the one from {date} or the newer one?",
			},
			answer: []string{
				"It was {order}, at a quarter past nine UTC.",
				"Yes, we renewed it on {date}, the chain should be complete though.",
				"The newer one, the old one is revoked.",
			},
			fix: []string{
				"Your endpoint's certificate lacks the intermediate, so our side closes the connection; please add it to the chain.",
				"Deliveries were paused after too many errors, and I have switched the subscription on again.",
				"Please reconnect {feature} once under Settings, the permission for reading was added later than your token.",
				"Please slow down to 10 requests a second and honour the reset header, then the {code} goes away.",
			},
			result: []string{
				"We added the intermediate and the events are flowing again.",
				"Reconnected, and the first records are coming in.",
				"The errors are down to maybe one in a thousand, that is fine for us.",
			},
			closing: []string{
				"Great, I will keep an eye on the queue until it has drained.",
				"Thanks for digging with us, the request ids helped a lot.",
			},
			note: []string{
				"Subscription was suspended automatically on {date} after 7 days of errors.",
				"Their token misses the read scope, see the connection log {order}.",
			},
		},
		{
			name: "app-crash", tag: "mobile",
			subjects: []string{"App crashes on {device}", "White screen after the update", "Cannot open {feature} on my phone"},
			opening: []string{
				"Since the update the app closes itself as soon as I tap on {feature}.",
				"I only see a white screen on {device} when I start the app.",
				"The app says {code} and then throws me back to the start page.",
			},
			detail: []string{
				"It is {device}, and the system is up to date.",
				"I already restarted the phone, twice.",
				"On the web everything works as it should.",
				"It happens on wifi and on mobile data.",
				"There is about {n} GB of free space left.",
			},
			question: []string{
				"Which version is shown under Profile, About?",
				"Does it also happen when you log out and in again?",
				"Did you allow notifications when the app asked for it?",
			},
			answer: []string{
				"It says 7.{n}.0, build {order}.",
				"Logging out is not possible, it crashes before I get there.",
				"I think I said no to the notifications.",
			},
			fix: []string{
				"Please delete the app, restart {device} and install version 7.{n}.1 from the store; your data is kept on our side.",
				"We rolled the faulty update back on {date}, so updating once more should be enough.",
				"Switching off the battery saver for the app avoids the crash until the next release.",
			},
			result: []string{
				"Reinstalling helped, {feature} opens again 🎉",
				"No crash since yesterday, it seems to be fine.",
				"It still crashes, just a bit later than before.",
			},
			closing: []string{
				"Happy that it is running again, thank you for trying all of this.",
				"I have passed the crash report on to the mobile team.",
			},
			note: []string{
				"Crash group {order}: null pointer when notifications are denied.",
				"Affects 7.{n}.0 only, fixed in the next build.",
			},
		},
		{
			name: "feature-request", tag: "feedback",
			subjects: []string{"Idea for {feature}", "Is there a dark mode?", "Missing: bulk edit in {feature}"},
			opening: []string{
				"Is there a way to change several entries in {feature} at once?",
				"We would love to have approval steps in {feature} before something goes live.",
				"Could {feature} remember the last filter that I used?",
			},
			detail: []string{
				"At the moment I click through {n} pages each Monday.",
				"Our team has {n} people, and everybody asks me for this.",
				"The tool we used before could do it, that is why I am asking.",
				"It does not have to be pretty.",
			},
			question: []string{
				"Could you describe how you would use it on a normal day?",
				"Would it help if you could do it through the API first?",
				"How many entries do you change in one go?",
			},
			answer: []string{
				"Usually 50 to 100 entries, always the same field.",
				"The API is fine for me, but not for the rest of the team.",
				"On a Monday I set the owner for everything that came in over the weekend.",
			},
			fix: []string{
				"There is no button for it yet, but holding Shift lets you select a range and set the owner for all of it.",
				"I have added your vote to the request; it is planned for the quarter after next.",
				"A saved view with a fixed filter comes close: open {feature}, set the filter, choose Save view.",
			},
			result: []string{
				"Oh, I did not know about Shift, that saves me an hour.",
				"Thanks for adding the vote, please keep me posted.",
				"The saved view is good enough for now.",
			},
			closing: []string{
				"I will write to you as soon as there is news on it.",
				"Thank you for taking the time to explain this.",
			},
			note: []string{
				"Vote added to request {order}, this is number {n}.",
				"Product is looking for beta testers, this would be a good one.",
			},
		},
	}
}
