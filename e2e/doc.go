// Package e2e runs testdata/<area>/<case>.txtar: scripts in which the built binaries, as processes,
// meet real API servers and real Git servers.
//
// All cases share one hub and two edges, a and b, and run one after the other: a Cluster belongs to
// one hub and one name, so two cases cannot have the same edge at the same time. What a case leaves
// on the hub is deleted at its end, and that must leave nothing of Skerry's on the edges: every
// case proves the deletion as well. A case that needs a hub of its own asks for one with `world`.
//
// A script's files whose names end in .yaml have ${VARIABLES} of the environment replaced when
// they are applied. Besides testscript's own commands there are:
//
//	push [-onto COMMIT] [-branch B] [-only] [-link PATH=TARGET] FOLDER...
//	                                  commit the files of folders, $COMMIT is the result; -only deletes all others
//	forget PATH...                    commit the deletion of paths
//	git FAULT...                      what the Git server does: ok, stop, start, 401, hang, trickle, delete-branch B
//	serve https USER PASSWORD         one more server for the repository: $URL and the file ca.crt
//	serve bearer TOKEN                the same with a token
//	serve ssh                         $URL and the files identity and known_hosts
//	githost KIND TOKEN                the API of github, gitlab, gitea or bitbucket-server at $API, with the file ca.crt,
//	                                  of which team/fleet is the case's repository, once it was made there
//	apply [-refused] [-as MANAGER] CLUSTER FILE...      server-side apply; CLUSTER is hub, a or b; -refused waits until
//	                                  it is refused
//	await [-for D] CLUSTER OBJECT EXPECTATION...        watch until all of them hold, 30s at most
//	stays [-for D] CLUSTER OBJECT EXPECTATION...        they hold, and go on to hold, for 2s
//	get CLUSTER OBJECT [FIELD]        print an object, or one field of it
//	patch CLUSTER OBJECT JSON         merge, as kubectl does
//	delete CLUSTER OBJECT
//	ensure CLUSTER KIND COUNT [SELECTOR]                count objects
//	event OBJECT REASON [REGEXP]      wait for an Event of the hub
//	snapshot NAME / same NAME         every object of Skerry's on the edges, and that none changed since
//	deletepods CLUSTER NAMESPACE SELECTOR
//	edge start|stop|pause|resume NAME a paused edge takes connections and never answers
//	hub start|stop|kill|wipe          wipe empties the storage of a stopped hub
//	agent stop|kill|wipe|ended EDGE   the agent of an edge, beside it; ended waits for its own end
//	agent [-kubeconfig FILE] start EDGE [NAME=VALUE...] [--FLAG=VALUE...]   the same, with variables of its environment
//	                                  and flags; it reaches its cluster as an administrator, or by the file of its
//	                                  first start
//	agent import|report EDGE FILE     "skerry-agent import" and "report", beside the agent
//	agent says EDGE REGEXP            wait for it in the agent's log
//	damage FILE COPY                  a copy of a file with one bit changed
//	link ok|cut|reset|half-open|delay D|throttle N      between agents and the gateway at $GATEWAY, which listens on
//	                                  $GATEWAY_BIND of a world; throttle in bytes a second
//	proxy HOST:PORT...                an HTTP proxy at $PROXY that opens tunnels to the link by these names only
//	ingress HOST:PORT FILE            what terminates TLS between that proxy and the link; its certificate in a file,
//	                                  with the key in FILE.key
//	skerry [-code N] [-stdin FILE] ARGS...              the CLI; `! skerry` expects that it fails, or not with N
//	everywhere [-code N] [-uncut] ARGS...               the CLI at terminals of 80 and 200 columns, with NO_COLOR, at a
//	                                  dumb one and in a pipe: no line is wider unless -uncut, no escape where there
//	                                  may be none, and everywhere the same code
//	interrupt [-at REGEXP] ARGS...    Ctrl-C at a terminal, once the text is there: it ends at once, with code 130
//	closedpipe ARGS...                the CLI whose output is read by no one: SIGPIPE, and not a word
//	complete SHELL LINE REGEXP        type a line with <TAB>s into a real shell, where it is installed, and wait for that
//	kubeconfig [-token T | -account NAMESPACE/NAME] CLUSTER FILE    write an administrator's kubeconfig, or one with a
//	                                  token, or with one of a ServiceAccount
//	load NAME FILE [INDENT]           set a variable to the contents of a file, indented for YAML
//	canary TEXT                       TEXT is nowhere in the hub's log, metrics, files, statuses and events
//	webhook [-code N] CLUSTER RECEIVER TOKEN BODY       a signed push to a Receiver of a hub that listens on $WEBHOOKS
//	repository NAME FOLDER            one of the repositories of internal/migrate/testdata
//	identities [-on CLUSTER] FILE OBJECT...             uid and generation of objects of the hub's cluster, or of
//	                                  another, to be compared
//	flux start|stop                   what Flux's kustomize-controller does to the hub's cluster, and its kinds
//	flux keep NAMESPACE/NAME FOLDER   what a Kustomization of Flux renders to
//	world [-pods] EDGE...             a hub and edges of the case's own; the hub does not run yet
//
// OBJECT is KIND/NAME or KIND/NAMESPACE/NAME. For expectations see rig.Expect.
package e2e
