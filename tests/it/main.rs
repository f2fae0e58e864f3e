//! Tests against real servers. One program, so that it is linked once.
//!
//! What is promised, and where it is tested: first what always holds, then each statement of the README. `lib::` names a unit
//! test in `src`, `allocations::` and `floors::` the programs beside this one, `…::*` all tests of a module. `floors` checks
//! that each name exists.
//!
//! # What always holds
//!
//! * 1: a write or an unknown command is never sent to a node last seen as a replica
//!   `failures::faults::nothing_is_written_to_a_node_that_says_it_is_a_replica`
//!   `failures::faults::a_demoted_master_gets_no_further_write_and_nothing_is_lost`
//!   `failures::faults::all_connections_to_a_demoted_master_are_asked_before_the_next_write`
//!   `topology::providers::a_provider_that_names_a_replica_from_the_start_leads_no_write_there`
//!   `topology::roles::a_master_that_comes_back_empty_gets_no_write_before_its_heir_is_known`
//!   `lib::writes_go_to_the_master_whatever_the_preference` `calls::classification::random_bytes_are_never_a_read`
//! * 1: a read reaches the master only where the read preference lets it
//!   `calls::routing::every_read_preference_reaches_its_roles_only`
//!   `calls::routing::a_set_without_replicas_reads_from_its_master_unless_told_otherwise`
//!   `lib::every_preference_ranks_roles_in_its_order`
//! * 2: a write is executed at most once by us
//!   `calls::errors::a_write_without_a_reply_is_in_doubt_and_sent_once`
//!   `failures::failover::a_crash_of_the_master_costs_no_read_and_no_write_twice`
//!   `failures::failover::a_failover_by_command_costs_no_read_and_no_write_twice`
//!   `failures::failover::twenty_failovers_cost_no_read_and_no_write_twice`
//!   `failures::field::slow::a_write_whose_reply_ends_after_its_first_byte_is_sent_once`
//!   `topology::roles::a_pipeline_that_a_demotion_interrupts_is_sent_again_only_if_nothing_of_it_was_executed`
//!   `topology::roles::more_writers_than_connections_outlast_a_black_holed_master`
//!   `connections::sharing::kills::killed_connections_and_a_stopped_master_execute_no_write_twice_and_fail_no_read`
//!   `connections::sharing::role_changes::writes_wait_for_the_new_master_and_none_is_executed_twice`
//!   `lib::only_reads_are_sent_again_after_a_lost_reply`
//!   `lib::a_write_pipeline_is_sent_again_only_if_all_of_it_was_refused`
//! * 3: a call is back by its deadline, whatever the nodes do
//!   `calls::time_limits::*` `calls::time_limits::unix_socket::*` `calls::time_limits::names::*` `calls::time_limits::signals::*`
//!   `failures::faults::calls_return_by_their_deadline` `connections::sharing::deadlines::*`
//!   `failures::outage::calls_return_by_their_deadline_though_every_node_is_black_holed`
//!   `failures::field::slow::*` `lib::there_is_no_time_left_at_the_deadline`
//! * 3: so is `refresh`; no node keeps the monitor from finding a new master
//!   `calls::time_limits::monitor::*`
//!   `topology::providers::a_refresh_does_not_wait_for_another_one_past_its_deadline`
//!   `failures::field::faults::a_frozen_master_is_replaced_soon_though_replies_may_take_long`
//! * 3: one retry budget
//!   `failures::outage::a_budget_bounds_the_attempts_where_all_replicas_fail`
//!   `lib::a_fifth_of_the_answers_and_ten_a_second` `lib::it_is_never_overdrawn`
//! * 3: each attempt uses one topology snapshot, and a new one is taken only after a wait
//!   `calls::topologies::a_read_goes_on_in_the_topology_it_began_with`
//!   `calls::topologies::a_read_that_has_waited_goes_on_in_the_topology_of_then`
//! * 4: one bad node never fails a read that another could serve
//!   `failures::survive::*` `failures::faults::no_read_fails_while_one_replica_of_three_is_killed`
//!   `failures::faults::a_hung_replica_costs_one_response_limit_and_delays_no_other`
//!   `failures::field::capacity::a_user_deleted_on_one_replica_fails_no_read`
//!   `failures::rights::a_right_that_one_replica_lacks_is_found_on_another_node`
//!   `calls::time_limits::unix_socket::a_full_unix_socket_keeps_no_read_from_another_node`
//!   `tls::certificates::one_bad_certificate_among_good_ones_fails_no_read`
//! * 4: fallback reads in flight are at most half of the master's pool
//!   `failures::outage::the_master_serves_so_many_reads_at_once_for_dead_replicas`
//!   `surface::defaults::the_master_serves_half_a_pool_of_fallback_reads_and_further_ones_wait_250_ms`
//!   `failures::refusals::many_read_only_scripts_at_once_share_the_room_on_the_master`
//!   `lib::there_are_never_more_fallback_reads_than_the_limit`
//! * 5: a connection that saw an error, a panic or an open transaction is never lent again
//!   `failures::faults::a_connection_that_failed_is_never_lent_again`
//!   `failures::faults::a_half_closed_connection_is_replaced`
//!   `connections::transactions::a_watch_is_never_leaked_to_the_next_user`
//!   `connections::transactions::an_open_transaction_is_never_leaked_to_the_next_user`
//!   `connections::transactions::a_panic_closes_the_connection`
//!   `connections::sharing::transactions::a_user_who_may_not_run_exec_spoils_no_reply_to_others`
//!   `connections::sharing::peers::a_connection_that_brings_more_replies_than_requests_is_closed`
//!   `failures::capacity::replies::a_client_serves_others_after_a_reply_that_was_too_large`
//! * 6: errors of the application never touch health
//!   `failures::survive::errors_of_the_application_speak_against_nobody`
//!   `calls::errors::application_errors_reach_the_caller_unchanged_and_eject_nobody`
//! * 6: errors of an older pool generation never touch a newer one
//!   `connections::generations::*`
//!   `connections::wear::a_connection_that_died_while_idle_says_nothing_about_its_node`
//!   `connections::wear::no_call_is_ended_for_a_change_of_role_that_was_over_before_it_began`
//!   `lib::a_node_that_diverged_or_was_deposed_or_removed_keeps_no_connection`
//! * 7: an empty or masterless view never replaces a good topology
//!   `topology::providers::an_answer_that_says_less_than_is_known_changes_nothing`
//!   `topology::set::readers_never_see_an_empty_set`
//!   `topology::names::discover_keeps_the_set_when_its_only_seed_is_dead_and_nobody_says_what_it_continues`
//! * 7: two claimants of mastership never flip-flop
//!   `topology::providers::a_provider_that_contradicts_the_nodes_does_not_move_the_master`
//!   `topology::roles::a_replica_that_claims_mastership_serves_nobody_until_it_follows_again`
//!   `lib::two_claimants_never_change_places_again_and_again`
//! * 8: no lock is held across I/O
//!   `failures::hangs::a_node_that_hangs_in_connect_delays_nothing_else`
//!   `failures::hangs::a_node_that_hangs_in_its_handshake_delays_nothing_else`
//!   `failures::hangs::a_node_that_hangs_in_its_replies_delays_nothing_else`
//!   `calls::time_limits::a_client_of_a_dripping_node_is_dropped_at_once`
//! * 8: no extra round trip, but before a write on a connection idle for 1 s or more
//!   `failures::faults::a_write_on_a_rested_connection_is_proven_first`
//!   `failures::capacity::logins::open_connections_go_on_after_the_password_was_changed`
//!   `connections::sharing::rest::a_shared_connection_that_has_rested_is_asked_before_the_next_write`
//!   `sessions::cost::*`
//! * 8: nothing is unbounded: connections, handshakes, retries, threads, what is remembered
//!   `failures::hangs::callers_of_a_node_that_hangs_take_no_more_connections_than_the_settings_allow`
//!   `failures::capacity::handshakes::*` `failures::refusals::a_busy_master_is_not_asked_in_a_spin_and_not_ejected`
//!   `topology::set::all_threads_end_with_the_last_handle`
//!   `failures::faults::the_housekeeping_thread_ends_with_the_last_handle`
//!   `calls::time_limits::unix_socket::threads_that_ask_a_full_unix_socket_end_with_the_client`
//!   `lib::what_is_kept_of_a_report_is_bounded` `lib::what_is_kept_of_an_answer_is_bounded`
//!   `lib::names_are_remembered_once_and_only_so_many`
//! * 9: a routed call allocates as often as a bare one
//!   `allocations::a_routed_call_allocates_as_often_as_a_bare_one` `allocations::no_strategy_allocates`
//! * 10: no panic on any input, from dependencies neither
//!   `failures::panics::*` `connections::sharing::peers::*` `calls::classification::random_bytes_are_never_a_read`
//!   `lib::pieces_do_not_change_what_is_read` `lib::replies_nested_deep_are_refused_or_read_but_never_overflow`
//! * 10: nothing secret in `Debug`, logs or errors, and no value of a reply
//!   `calls::errors::every_mistake_with_a_connection_has_its_reason_in_words`
//!   `calls::errors::errors_of_the_application_show_neither_values_nor_arguments`
//!   `calls::errors::a_bad_address_is_shown_without_its_password`
//!   `calls::errors::a_refused_login_is_told_at_once_and_without_the_password`
//!   `failures::field::faults::errors_within_a_transaction_by_hand_repeat_no_argument`
//!   `lib::nothing_secret_is_shown` `lib::a_password_is_never_shown` `lib::no_error_repeats_the_password`
//! * 11: a documented default is the default
//!   `surface::defaults::*` `lib::the_defaults_are_the_documented_ones`
//! * 12: what is promised about freshness is checked in the reply that carries the value
//!   `nemesis::*` `sessions::*` `sessions::fences::*` `sessions::staleness::*` `sessions::lineages::*`
//!   `lib::what_is_proven_is_the_case` `lib::what_is_accepted_is_there`
//! * the source keeps to its floors
//!   `floors::the_source_keeps_to_its_floors`
//!
//! # The README: API, and what goes where
//!
//! * `build` does not connect
//!   `calls::routing::building_connects_to_nothing_and_dead_nodes_do_not_fail_it`
//!   `failures::outage::a_client_starts_while_everything_is_dead`
//! * clones share the pools; a handle has options of its own on the same pools
//!   `calls::routing::handles_share_pools_and_carry_their_own_options`
//! * everyday commands, typed; JSON
//!   `surface::typed_helpers::strings_and_keys`
//!   `surface::typed_helpers::hashes_lists_sets_and_sorted_sets`
//!   `surface::helpers_route::*`
//! * a read-only script stays on the replica that does not know it; one that writes is executed once
//!   `surface::helpers_route::a_read_only_script_stays_on_the_replica_that_does_not_know_it`
//!   `surface::helpers_route::a_script_that_writes_runs_on_the_master_once`
//! * scans as iterators
//!   `surface::scan_iterators::*`
//! * `until`: one deadline over several calls
//!   `surface::typed_helpers::a_handle_past_its_end_sends_nothing`
//!   `surface::typed_helpers::an_end_bounds_several_calls_together`
//! * `connection`: everything that redis-rs has, also transactions
//!   `connections::*` `connections::transactions::*`
//! * `dedicated`: pub/sub, administration of one node
//!   `surface::typed_helpers::a_dedicated_connection_leads_where_it_should`
//! * the set is changed while it runs; a node that leaves drains
//!   `topology::set::*`
//! * settings in one URL: any nodes in any order, Sentinels, logins percent-encoded, each setting as in a file
//!   `surface::url::*` `lib::every_setting_means_the_same_in_a_file`
//!   `lib::a_url_of_another_form_is_refused_with_a_remedy`
//!   `lib::words_and_values_that_cannot_be_read_are_named_with_a_remedy`
//!   `lib::a_password_in_the_wrong_form_is_refused_with_advice_and_never_shown`
//! * settings from a file
//!   `lib::everything_set_arrives_in_the_client` `lib::mistakes_are_named`
//! * `explain` and `snapshot` say what goes where and why
//!   `calls::routing::explain_says_where_a_command_would_go_and_why`
//!   `calls::strategies::explain_shows_what_the_strategy_sees`
//!   `sessions::lineages::explain_says_which_replicas_cannot_prove_a_read`
//!   `surface::snapshot::*` `lib::a_person_reads_the_set_at_a_glance`
//! * tools for tests: real sets, Sentinels, network faults
//!   `surface::testing::*` `lib::every_strategy_of_this_crate_conforms`
//! * each command has its classification, as the server flags it
//!   `calls::classification::*` `calls::routing::reads_are_spread_evenly_and_writes_go_to_the_master`
//! * first page of a scan like a read, later pages to that same node
//!   `connections::a_scan_stays_on_the_node_of_its_first_page` `connections::a_foreign_cursor_is_refused`
//!   `connections::interleaved_scans_keep_to_their_nodes` `connections::shared_endpoint::*`
//! * what would change a pooled connection is refused
//!   `connections::what_would_change_a_connection_is_refused`
//! * a script is a read if its first line says so
//!   `calls::routing::the_read_only_first_line_of_a_script_sends_it_to_a_replica`
//!   `failures::refusals::a_read_only_script_unknown_to_replicas_goes_to_the_master`
//! * a pipeline goes whole to one node
//!   `calls::routing::a_pipeline_goes_whole_to_one_node`
//!   `failures::refusals::a_pipeline_that_a_replica_refuses_in_part_goes_whole_to_the_master`
//! * commands of modules are declared with `classify`
//!   `calls::routing::overrides_send_a_command_where_they_say`
//!   `failures::refusals::what_a_replica_refuses_as_a_write_goes_to_the_master_and_is_remembered`
//!
//! # The README: read preferences and staleness
//!
//! * replicas that synchronise, are cut off, lag or hold another history come after those in sync, or never
//!   `topology::sync_states::*` `failures::faults::a_loading_replica_is_left_alone`
//!   `topology::roles::a_replica_that_is_cut_off_serves_only_where_no_master_lives`
//!   `lib::a_follower_of_a_demoted_master_diverges_from_where_the_histories_do`
//! * `max_staleness` bounds how old a reply may be, from 50 ms
//!   `sessions::staleness::no_bounded_read_is_older_than_its_bound`
//!   `sessions::staleness::below_the_shortest_bound_only_the_master_serves`
//!   `sessions::staleness::without_a_fresh_replica_there_is_none_to_read_from`
//! * sessions never miss their own writes
//!   `sessions::what_was_written_is_read_from_replicas_that_have_it`
//!
//! # The README: where the nodes come from
//!
//! * named nodes: the named master at first, then the one that the nodes agree on
//!   `topology::roles::writes_go_on_after_a_promotion_by_hand`
//!   `topology::roles::without_a_monitor_writes_go_on_after_a_promotion_by_hand`
//!   `lib::at_a_cold_start_followers_decide_and_then_the_name`
//! * `discover`: the address of any node
//!   `topology::discovery::*`
//! * `sentinel`: the master of the highest epoch, once that node confirms it
//!   `topology::sentinels::*` `lib::the_highest_epoch_counts_and_then_the_majority`
//!   `lib::an_authority_is_followed_once_the_node_confirms_it`
//! * a provider of one's own
//!   `topology::providers::*`
//! * found nodes are reached as the first seed is, or by `login` and `tls`
//!   `topology::discovery::found_nodes_inherit_the_password_of_the_seed`
//!   `topology::providers::a_login_is_used_wherever_only_an_address_was_given`
//!   `topology::sentinels::sentinels_and_servers_have_passwords_of_their_own`
//!   `tls::basics::found_nodes_are_reached_as_the_seed_is`
//! * `map_address` translates
//!   `topology::discovery::addresses_that_lead_nowhere_are_translated`
//!   `topology::sentinels::addresses_that_sentinels_give_are_translated`
//! * a host name of several addresses is as many nodes
//!   `lib::a_client_follows_the_addresses_of_a_name` `lib::a_seed_name_of_several_addresses_is_several_seeds`
//!
//! # The README: when nodes fail
//!
//! * a read without a complete reply is sent at most twice more
//!   `failures::capacity::replies::a_reply_that_no_server_can_deliver_is_asked_for_three_times_and_ejects_nobody`
//!   `failures::capacity::replies::a_read_that_takes_longer_than_the_limit_is_sent_three_times_at_most`
//! * writes wait for the next master until their deadline
//!   `topology::discovery::writes_wait_for_a_master_that_was_not_there_at_the_start`
//!   `topology::roles::writes_go_on_when_a_stopped_master_runs_again` `failures::faults::calls_work_as_soon_as_nodes_appear`
//!   `failures::refusals::writes_wait_for_a_busy_master`
//! * in doubt: `Interrupted`, and `may_have_executed`
//!   `topology::roles::a_write_into_a_black_hole_is_in_doubt_and_the_next_goes_to_the_new_master`
//!   `calls::errors::a_write_without_a_connection_was_not_executed`
//!   `calls::errors::a_failed_script_may_have_executed_and_a_refused_one_has_not`
//! * ejected immediately if unreachable or loading, else after three failures in a row or half of ten
//!   `lib::failures_eject_only_in_a_row` `lib::failures_eject_as_half_of_many`
//!   `lib::an_unreachable_node_is_avoided_until_it_was_probed` `failures::faults::a_refused_port_is_known_at_once`
//! * the monitor probes, after 0.5 s doubling to 30 s; no call is a probe
//!   `lib::the_cool_down_doubles_up_to_30_seconds_and_is_spread`
//!   `failures::survive::no_call_is_the_probe_of_an_ejected_replica`
//! * slow start: from 10 % to all within 10 s
//!   `failures::survive::a_replica_that_returns_gets_its_load_back_gradually`
//!   `lib::the_share_grows_in_ten_seconds_and_only_after_an_ejection`
//! * closed idle connections and `maxclients` do not eject
//!   `failures::faults::connections_closed_while_idle_speak_against_nobody` `failures::capacity::clients::*`
//!   `failures::capacity::logins::*`
//! * failover: no read fails, no write is executed twice, writes resume soon
//!   `failures::failover::*` `tls::sentinel::a_failover_fails_no_read_and_no_session_reads_wrongly`
//! * an error says on one line which node, why, which limit, and whether a write may have been applied
//!   `calls::errors::every_limit_is_named_with_its_setting_and_its_time`
//!   `calls::errors::a_full_pool_says_how_large_it_is_and_how_long_was_waited`
//!   `connections::wear::what_a_call_waited_for_is_named`
//!
//! * many callers share a connection, and each gets its own replies
//!   `connections::sharing::use_of_connections::*` `connections::sharing::stress::*` `connections::sharing::transactions::*`
//!   `connections::sharing::peers::*` `tls::sharing::*`
//! * what blocks, watches, waits for replicas, is large or unknown takes a connection of its own
//!   `connections::sharing::apart::*`
//! * large replies delay no small ones
//!   `connections::sharing::large_replies::*`
//!
//! # The README: reading your own writes
//!
//! * a session reads what it wrote, and never less than it read before
//!   `sessions::what_was_read_once_is_read_again` `sessions::a_replica_that_lags_behind_is_passed_over`
//!   `sessions::every_way_to_read_takes_part` `sessions::staleness::no_session_reads_backward_while_delays_change`
//! * a token carries it on
//!   `sessions::a_session_travels_as_a_token_and_stays_apart_from_others` `lib::a_token_survives_its_way_as_text`
//! * `acknowledged_by` waits for replicas, or fails with `Unacknowledged`
//!   `sessions::confirmations::*`
//! * the proof comes in the same round trip
//!   `sessions::cost::*`
//! * it holds across failovers, and while the master is dead
//!   `sessions::tokens_outlive_a_clean_failover_and_are_served_by_replicas` `sessions::outage::*` `nemesis::*`
//! * what the servers lost is told once
//!   `sessions::a_lost_write_is_told_once_and_then_the_session_goes_on`
//!   `sessions::lineages::the_loss_of_what_was_only_read_is_told_as_such`
//! * `SessionMode::Fence` for users and proxies without `INFO`
//!   `sessions::fences::*` `sessions::fence_faults::*`
//!
//! # The README: strategies, monitoring, TLS, limits
//!
//! * each strategy picks as its row says
//!   `calls::strategies::*` `lib::the_strategies_of_this_crate_are_even_among_equals`
//!   `lib::without_one_node_only_its_keys_move_and_to_all_others` `lib::every_cycle_is_exact_wherever_it_starts`
//! * a strategy of one's own never harms
//!   `calls::routing::a_strategy_that_picks_no_candidate_does_no_harm`
//! * each event is told once
//!   `surface::events::*` `surface::rare_events::*` `surface::spans::a_panic_of_an_observer_is_logged_once_for_its_thread`
//! * an observer is told of calls, attempts, connections, nodes, failovers and sessions; its panics and its own calls harm nobody
//!   `surface::observers::*` `surface::outcomes::*` `surface::reentry::*` `surface::rare_events::*`
//! * metrics have the names, units and attributes of the specification, and few series
//!   `surface::metrics::*` `allocations::*` `lib::the_docs_name_each_metric`
//! * a slow call is logged with where its time went; each call is a span where somebody reads spans
//!   `surface::spans::*` `surface::timing::*`
//! * `ready` waits for connections for writes and for reads, or says which is missing and why
//!   `surface::ready::*`
//! * certificates, private authorities, names
//!   `tls::basics::*` `tls::certificates::*` `tls::settings::*` `tls::time::*`
//! * at most 64 nodes
//!   `topology::set::a_set_takes_64_nodes_and_no_more`
//! * blocking commands use connections of their own, and extend the limits
//!   `failures::capacity::blocking::*` `failures::field::blocking::*`
//!   `calls::routing::blocking_commands_extend_their_limits_by_their_own_argument`
//!   `failures::faults::a_blocking_command_does_not_wait_for_a_dead_master_as_long_as_it_would_block`
//!
//! # Not tested here
//!
//! Versions of servers other than the one that is installed, the measured figures (see `benches`), what the README only
//! warns of (`fork`, native-tls), and `Send` and `Sync`, which `src/lib.rs` asserts.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod calls;
mod connections;
mod failures;
mod nemesis;
mod sessions;
mod support;
mod surface;
#[cfg(any(feature = "tls-rustls-ring", feature = "tls-rustls-aws-lc-rs"))]
mod tls;
mod topology;
