import psycopg
from aiokafka import AIOKafkaProducer
async def test_db(database_url, topic, broker):
    with psycopg.connect(database_url) as c: assert c.execute("select count(*) from ledger.events").fetchone()==(0,)
    async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap) as p: await p.send_and_wait(topic,b"x")
def test_db2(database_url, topic, broker):
    with psycopg.connect(database_url) as c: assert c.execute("select count(*) from ledger.events").fetchone()==(0,)
def test_own(own_postgres, own_broker):
    own_broker.kill(); own_broker.start(); own_postgres.kill(); own_postgres.start()
