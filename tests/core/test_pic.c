// The 8259 pair: initialisation, priorities, all OCW2 and OCW3 commands, cascade,
// levels and edges, spurious requests.
// sources: hypervisor/dev/pic.c
#include "check.h"
#include "dev/pic.h"

enum { M = PIC_MASTER_COMMAND, MD = PIC_MASTER_DATA, S = PIC_SLAVE_COMMAND, SD = PIC_SLAVE_DATA };

static struct pic p;

static void start_as(uint8_t icw4) {
    pic_init(&p);
    pic_write(&p, M, 0x11);
    pic_write(&p, MD, 0x30);
    pic_write(&p, MD, 0x04);
    pic_write(&p, MD, icw4);
    pic_write(&p, S, 0x11);
    pic_write(&p, SD, 0x38);
    pic_write(&p, SD, 0x02);
    pic_write(&p, SD, icw4 & 0x0F);
}

static void start(void) {
    start_as(0x01);
}

static void edge(uint8_t irq) {
    pic_set_line(&p, irq, false);
    pic_set_line(&p, irq, true);
}

static uint8_t isr(uint16_t port) {
    pic_write(&p, port, 0x0B);
    return pic_read(&p, port);
}

static uint8_t irr(uint16_t port) {
    pic_write(&p, port, 0x0A);
    return pic_read(&p, port);
}

CASE(after_power_on_all_is_masked) {
    pic_init(&p);
    edge(0);
    edge(12);
    CHECK(!pic_pending(&p));
    EQUAL(pic_read(&p, MD), 0xFF);
    EQUAL(pic_read(&p, SD), 0xFF);
}

CASE(mask_reads_back_and_holds_requests) {
    start();
    pic_write(&p, MD, 0xFB);
    EQUAL(pic_read(&p, MD), 0xFB); // Linux's probe for an 8259
    edge(4);
    CHECK(!pic_pending(&p));
    EQUAL(irr(M), 0x10);
    pic_write(&p, MD, 0xEB);
    CHECK(pic_pending(&p));
    EQUAL(pic_ack(&p), 0x34);
}

CASE(nothing_is_pending_during_initialisation) {
    start();
    pic_set_line(&p, 10, true);
    pic_write(&p, M, 0x11);
    CHECK(!pic_pending(&p));
    pic_write(&p, MD, 0x40);
    pic_write(&p, MD, 0x04);
    CHECK(!pic_pending(&p));
    pic_write(&p, MD, 0x01);
    CHECK(pic_pending(&p));
    EQUAL(pic_ack(&p), 0x3A);
}

CASE(vector_keeps_its_top_five_bits) {
    pic_init(&p);
    pic_write(&p, M, 0x13); // single: no ICW3
    pic_write(&p, MD, 0x57);
    pic_write(&p, MD, 0x01);
    edge(3);
    CHECK(pic_pending(&p));
    EQUAL(pic_ack(&p), 0x53);
}

CASE(without_icw4_its_functions_are_off) {
    start_as(0x03);
    pic_write(&p, M, 0x10);
    pic_write(&p, MD, 0x30);
    pic_write(&p, MD, 0x04);
    edge(1);
    EQUAL(pic_ack(&p), 0x31);
    EQUAL(isr(M), 0x02);     // no automatic EOI
    pic_write(&p, MD, 0xAA); // this is the mask again
    EQUAL(pic_read(&p, MD), 0xAA);
}

CASE(icw1_clears_edges_service_and_mask) {
    start();
    edge(5);
    edge(1);
    pic_ack(&p);
    pic_write(&p, MD, 0xF0);
    pic_write(&p, M, 0x68); // special mask mode
    start();
    EQUAL(isr(M), 0);
    EQUAL(irr(M), 0);
    EQUAL(pic_read(&p, MD), 0);
    CHECK(!pic_pending(&p));
}

CASE(lower_number_goes_first) {
    start();
    edge(7);
    edge(3);
    edge(0);
    EQUAL(pic_ack(&p), 0x30);
    CHECK(!pic_pending(&p)); // 3 and 7 wait for the EOI
    pic_write(&p, M, 0x20);
    EQUAL(pic_ack(&p), 0x33);
    pic_write(&p, M, 0x20);
    EQUAL(pic_ack(&p), 0x37);
}

CASE(higher_priority_interrupts_the_lower) {
    start();
    edge(5);
    EQUAL(pic_ack(&p), 0x35);
    edge(6);
    CHECK(!pic_pending(&p));
    edge(2 + 9); // on the slave: comes in as 2
    CHECK(pic_pending(&p));
    edge(1);
    EQUAL(pic_ack(&p), 0x31);
    EQUAL(isr(M), 0x22);
    pic_write(&p, M, 0x20); // ends 1, the highest
    EQUAL(isr(M), 0x20);
    EQUAL(pic_ack(&p), 0x3B);
}

CASE(edge_is_used_up_by_the_acknowledge) {
    start();
    edge(4);
    EQUAL(pic_ack(&p), 0x34);
    EQUAL(irr(M), 0);
    pic_write(&p, M, 0x64);
    CHECK(!pic_pending(&p)); // the line is still high
    edge(4);
    CHECK(pic_pending(&p));
}

CASE(edge_during_service_waits_for_the_eoi) {
    start();
    edge(4);
    pic_ack(&p);
    edge(4);
    CHECK(!pic_pending(&p));
    EQUAL(irr(M), 0x10);
    pic_write(&p, M, 0x64);
    CHECK(pic_pending(&p));
}

CASE(level_asks_again_after_the_eoi) {
    start();
    pic_write(&p, PIC_ELCR_SLAVE, 0x04);
    pic_set_line(&p, 10, true);
    EQUAL(pic_ack(&p), 0x3A);
    EQUAL(irr(S), 0x04);
    pic_write(&p, S, 0x20);
    pic_write(&p, M, 0x20);
    CHECK(pic_pending(&p));
    pic_set_line(&p, 10, false);
    CHECK(!pic_pending(&p));
}

CASE(elcr_has_fixed_edges) {
    start();
    pic_write(&p, PIC_ELCR_MASTER, 0xFF);
    pic_write(&p, PIC_ELCR_SLAVE, 0xFF);
    EQUAL(pic_read(&p, PIC_ELCR_MASTER), 0xF8);
    EQUAL(pic_read(&p, PIC_ELCR_SLAVE), 0xDE);
    pic_write(&p, M, 0x11); // and survives ICW1
    EQUAL(pic_read(&p, PIC_ELCR_MASTER), 0xF8);
}

CASE(switching_to_level_sees_a_high_line) {
    start();
    edge(11);
    pic_ack(&p);
    pic_write(&p, S, 0x63);
    pic_write(&p, M, 0x62);
    CHECK(!pic_pending(&p));
    pic_write(&p, PIC_ELCR_SLAVE, 0x08);
    CHECK(pic_pending(&p));
}

CASE(both_chips_enter_service) {
    start();
    edge(14);
    EQUAL(pic_ack(&p), 0x3E);
    EQUAL(isr(M), 0x04);
    EQUAL(isr(S), 0x40);
    edge(15);
    CHECK(!pic_pending(&p));
    pic_write(&p, S, 0x20);
    CHECK(!pic_pending(&p)); // the master still serves input 2
    pic_write(&p, M, 0x62);
    EQUAL(pic_ack(&p), 0x3F);
}

CASE(fully_nested_master_lets_the_slave_interrupt_itself) {
    start();
    edge(14);
    pic_ack(&p);
    edge(9);
    CHECK(!pic_pending(&p));
    start_as(0x11);
    edge(14);
    pic_ack(&p);
    edge(9);
    CHECK(pic_pending(&p));
    EQUAL(pic_ack(&p), 0x39);
    edge(15);
    CHECK(!pic_pending(&p)); // lower than what the slave serves
}

CASE(vanished_request_is_spurious_seven) {
    start();
    edge(6);
    pic_set_line(&p, 6, false);
    CHECK(!pic_pending(&p));
    EQUAL(pic_ack(&p), 0x37);
    EQUAL(isr(M), 0); // a spurious interrupt is not in service
}

CASE(vanished_slave_request_is_spurious_fifteen) {
    start();
    edge(12);
    p.chip[1].irr = 0; // between the two INTA pulses
    EQUAL(pic_ack(&p), 0x3F);
    EQUAL(isr(S), 0);
    EQUAL(isr(M), 0x04); // the master does serve
    pic_write(&p, M, 0x20);
    CHECK(!pic_pending(&p));
}

CASE(specific_eoi_ends_only_its_level) {
    start();
    edge(3);
    pic_ack(&p);
    edge(1);
    pic_ack(&p);
    pic_write(&p, M, 0x63);
    EQUAL(isr(M), 0x02);
    pic_write(&p, M, 0x66); // not in service
    EQUAL(isr(M), 0x02);
    pic_write(&p, M, 0x40); // no operation
    EQUAL(isr(M), 0x02);
    pic_write(&p, M, 0x20);
    EQUAL(isr(M), 0);
    pic_write(&p, M, 0x20);
    EQUAL(isr(M), 0);
}

CASE(rotate_on_eoi_makes_it_lowest) {
    start();
    edge(2 + 1);
    pic_ack(&p);
    pic_write(&p, M, 0xA0);
    edge(3);
    edge(4);
    edge(0);
    EQUAL(pic_ack(&p), 0x34); // order is 4 5 6 7 0 1 2 3
    pic_write(&p, M, 0x20);
    EQUAL(pic_ack(&p), 0x30);
    pic_write(&p, M, 0x20);
    EQUAL(pic_ack(&p), 0x33);
}

CASE(rotate_on_specific_eoi) {
    start();
    edge(5);
    pic_ack(&p);
    pic_write(&p, M, 0xE5);
    edge(5);
    edge(6);
    EQUAL(pic_ack(&p), 0x36);
}

CASE(set_priority) {
    start();
    pic_write(&p, M, 0xC3);
    edge(0);
    edge(3);
    edge(7);
    EQUAL(pic_ack(&p), 0x37);
    edge(5);
    EQUAL(pic_ack(&p), 0x35); // 5 is above 7 now
    pic_write(&p, M, 0x20);   // non-specific: ends 5, the highest in turned order
    EQUAL(isr(M), 0x80);
}

CASE(automatic_eoi) {
    start_as(0x03);
    edge(1);
    edge(5);
    EQUAL(pic_ack(&p), 0x31);
    EQUAL(isr(M), 0);
    EQUAL(pic_ack(&p), 0x35);
}

CASE(rotate_in_automatic_eoi_mode) {
    start_as(0x03);
    pic_write(&p, M, 0x80);
    edge(1);
    EQUAL(pic_ack(&p), 0x31);
    edge(1);
    edge(4);
    EQUAL(pic_ack(&p), 0x34); // 1 became the lowest
    EQUAL(pic_ack(&p), 0x31);
    pic_write(&p, M, 0x00); // off: 1 stays the lowest
    edge(4);
    EQUAL(pic_ack(&p), 0x34);
    edge(4);
    edge(5);
    EQUAL(pic_ack(&p), 0x34);
}

CASE(special_mask_mode_lets_lower_levels_through) {
    start();
    edge(2 + 2);
    EQUAL(pic_ack(&p), 0x34);
    edge(6);
    CHECK(!pic_pending(&p));
    pic_write(&p, MD, 0x10);
    CHECK(!pic_pending(&p));
    pic_write(&p, M, 0x68);
    EQUAL(pic_ack(&p), 0x36);
    pic_write(&p, M, 0x20); // passes over the masked 4
    EQUAL(isr(M), 0x10);
    pic_write(&p, M, 0x48); // ESMM without SMM: off
    pic_write(&p, M, 0x20);
    EQUAL(isr(M), 0);
}

CASE(ocw3_without_esmm_keeps_the_mode) {
    start();
    pic_write(&p, M, 0x68);
    pic_write(&p, M, 0x0B);
    CHECK(p.chip[0].special_mask);
}

CASE(poll_is_an_acknowledge) {
    start();
    pic_write(&p, M, 0x0C);
    EQUAL(pic_read(&p, M), 0);
    edge(3);
    pic_write(&p, M, 0x0C);
    CHECK(pic_pending(&p));
    EQUAL(pic_read(&p, M), 0x83);
    CHECK(!pic_pending(&p));
    EQUAL(pic_read(&p, MD), 0); // the mask again
    EQUAL(isr(M), 0x08);
    EQUAL(irr(M), 0);
    edge(9);
    pic_write(&p, S, 0x0C);
    EQUAL(pic_read(&p, SD), 0x81);
    EQUAL(isr(S), 0x02);
}

CASE(read_register_choice_stays) {
    start();
    edge(1);
    pic_ack(&p);
    edge(2 + 2);
    pic_write(&p, M, 0x0B);
    EQUAL(pic_read(&p, M), 0x02);
    EQUAL(pic_read(&p, M), 0x02);
    pic_write(&p, M, 0x08); // neither: unchanged
    EQUAL(pic_read(&p, M), 0x02);
    pic_write(&p, M, 0x0A);
    EQUAL(pic_read(&p, M), 0x10);
}

// Every pair of levels under every rotation, against the rule itself.
CASE(priority_rule_holds_everywhere) {
    for (unsigned lowest = 0; lowest < 8; lowest++) {
        for (unsigned a = 0; a < 8; a++) {
            for (unsigned b = 0; b < 8; b++) {
                if (a == b || a == 2 || b == 2) {
                    continue;
                }
                unsigned rank_a = (a + 7 - lowest) % 8, rank_b = (b + 7 - lowest) % 8;
                start();
                pic_write(&p, M, (uint8_t)(0xC0 | lowest));
                edge((uint8_t)a);
                EQUAL(pic_ack(&p), 0x30 + a);
                edge((uint8_t)b);
                EQUAL(pic_pending(&p), rank_b < rank_a);
            }
        }
    }
}

// The cached answer equals what an acknowledge would find, whatever is done.
CASE(pending_is_never_stale) {
    uint64_t seed = 1;
    start();
    for (unsigned i = 0; i < 200000; i++) {
        static const uint8_t commands[] = {0x20, 0x60, 0x61, 0x64, 0xA0, 0xE3, 0xC5, 0x0A, 0x68, 0x48};
        unsigned what = check_random(&seed, 6);
        if (what == 0) {
            uint16_t port = check_random(&seed, 2) ? MD : SD;
            pic_write(&p, port, (uint8_t)check_random(&seed, 256));
        } else if (what == 1) {
            uint16_t port = check_random(&seed, 2) ? M : S;
            pic_write(&p, port, commands[check_random(&seed, sizeof commands)]);
        } else if (what == 2) {
            struct pic copy = p;
            uint8_t master = p.chip[0].isr;
            copy.pending = false;
            pic_ack(&copy);
            bool served = copy.chip[0].isr != master || copy.chip[0].irr != p.chip[0].irr;
            EQUAL(p.pending, served);
            if (p.pending) {
                pic_ack(&p);
            }
        } else {
            uint8_t irq = (uint8_t)check_random(&seed, 16);
            if (irq != PIC_CASCADE) {
                pic_set_line(&p, irq, check_random(&seed, 2));
            }
        }
    }
}

CASE(power_on_has_the_bios_vectors) {
    pic_init(&p);
    pic_write(&p, MD, 0x00);
    pic_write(&p, SD, 0x00);
    edge(7);
    edge(1);
    EQUAL(pic_ack(&p), 0x09);
    pic_write(&p, M, 0x20);
    edge(8);
    EQUAL(pic_ack(&p), 0x70);
}

CASE(non_specific_eoi_leaves_level_0) {
    start();
    edge(0);
    pic_ack(&p);
    pic_write(&p, M, 0xC3); // 4 goes first now
    edge(5);
    EQUAL(pic_ack(&p), 0x35);
    pic_write(&p, M, 0x20);
    EQUAL(isr(M), 0x01);
}

CASE(specific_eoi_turns_nothing) {
    start();
    edge(3);
    pic_ack(&p);
    pic_write(&p, M, 0x63);
    edge(3);
    edge(4);
    EQUAL(pic_ack(&p), 0x33);
}

CASE(set_priority_keeps_the_automatic_rotation) {
    start_as(0x03);
    pic_write(&p, M, 0x80);
    pic_write(&p, M, 0xC7);
    edge(0);
    pic_ack(&p);
    edge(0);
    edge(1);
    EQUAL(pic_ack(&p), 0x31);
}

CASE(icw1_resets_priorities_and_modes) {
    start();
    pic_write(&p, M, 0xC3);
    pic_write(&p, M, 0x6B); // special mask, ISR shown
    start();
    edge(1);
    edge(5);
    EQUAL(pic_ack(&p), 0x31);
    EQUAL(pic_read(&p, M), 0x20); // IRR is shown
    pic_write(&p, MD, 0x02);
    CHECK(!pic_pending(&p)); // a masked level in service holds up others
}

CASE(fully_nested_slave_is_an_ordinary_one) {
    start();
    pic_write(&p, S, 0x11);
    pic_write(&p, SD, 0x38);
    pic_write(&p, SD, 0x02);
    pic_write(&p, SD, 0x11);
    edge(10);
    pic_ack(&p);
    pic_write(&p, M, 0x62);
    edge(11);
    CHECK(!pic_pending(&p));
    EQUAL(irr(M), 0);
    pic_write(&p, S, 0x20);
    EQUAL(pic_ack(&p), 0x3B);
}
